"""The worker's loop: one assignment in, progress and one outcome out, again.

Runs in the forked process and never returns. When the supervisor closes the socket, the
worker leaves; there is nothing to clean up that the supervisor would not do better.
"""

import gc
import os
import re
import select
import socket
import sys
import threading
import time
from collections import deque
from typing import NoReturn

import setproctitle

from worker.crew.audit import Audit
from worker.crew.executor import Executor
from worker.protocol import Alone, Assignment, Decoder, Message, Progress, Ready, encode
from worker.redact import redact, secrets_of

READ_BYTES = 65536
# Made in the zygote: to make it in each worker would copy 0.2 MB of pages.
READY = encode(Ready())
# How long a run may wait for the removal of what others left on disk; longer after a run that
# had longer to leave it, or what is left would grow.
TIDY_S = 0.01
TIDY_MOST_S = 1.0
_UNFIT_FOR_TITLE = re.compile(r"[^A-Za-z0-9._-]")


class Line:
    """The worker's end of the socket. Handlers of the event bus write from threads of their
    own (trap C6), so that frames must not mix.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = Decoder()
        self._words: deque[Assignment | Alone] = deque()
        self._lock = threading.Lock()

    def tell(self, word: Message) -> None:
        """Send one message, whole."""
        self.send(encode(word))

    def send(self, frame: bytes) -> None:
        """Send one frame, whole."""
        with self._lock:
            self._sock.sendall(frame)

    def is_spoken_to(self) -> bool:
        """Whether there is something to read, be it the end."""
        return bool(self._words or select.select([self._sock], [], [], 0)[0])

    def next_word(self) -> Assignment | Alone | None:
        """Wait for what the supervisor wants; None when it closed the socket."""
        while not self._words and (data := self._sock.recv(READ_BYTES)):
            words = self._decoder.feed(data)
            self._words += [word for word in words if isinstance(word, Assignment | Alone)]
        return self._words.popleft() if self._words else None


def serve(slot: int, sock: socket.socket, executor: Executor) -> NoReturn:
    """Run assignments until the socket closes, then leave without atexit.

    os._exit, because crewai's event bus joins its threads at exit without a limit (trap C5)
    and the zygote's exit handlers are not ours to run.
    """
    line = Line(sock)
    audit = Audit()
    code = 0
    try:
        line.send(READY)
        executor.tidy(TIDY_S, line.is_spoken_to)
        while (word := line.next_word()) is not None:
            if isinstance(word, Assignment):
                _run(slot, word, line, executor, audit)
                continue
            executor.take_over()
            executor.tidy(TIDY_S, line.is_spoken_to)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the supervisor is gone or let go of us; both mean: leave
    except BaseException:  # noqa: BLE001  # a bug of ours: say it where the supervisor reads
        sys.excepthook(*sys.exc_info())
        code = 70
    os._exit(code)


def _run(slot: int, run: Assignment, line: Line, executor: Executor, audit: Audit) -> None:
    """Run one crew, tell how it ended, and tidy up after it."""
    title = _title(slot, run)
    setproctitle.setproctitle(title)

    def tell(progress: Progress) -> None:
        setproctitle.setproctitle(f"{title} {_phase(progress)}")
        line.tell(progress)

    def mask(name: str) -> str:
        return redact(name, secrets_of(run.settings, os.environ, run.env.values()))

    outcome = executor.execute(run, tell)
    # Before the outcome: after it the supervisor takes lines for the next run's.
    sys.stdout.flush()
    sys.stderr.flush()
    setproctitle.setproctitle(f"crewpool s{slot} idle")
    line.tell(outcome.model_copy(update={"left": audit.after(mask)}))
    # What the crew made refers to itself in rings; until its next full collection, which
    # may never come, each worker would keep 2 MB of it. 1 to 2 ms, off the run's clock.
    gc.collect()
    executor.tidy(min(TIDY_S + outcome.duration_s / 10, TIDY_MOST_S), line.is_spoken_to)


def _title(slot: int, run: Assignment) -> str:
    """Name slot, plugin and run. Nothing of a payload goes into a title raw (trap O12)."""
    run_id = _UNFIT_FOR_TITLE.sub("", run.run_id)[:8]
    plugin = _UNFIT_FOR_TITLE.sub("", run.plugin)
    return f"crewpool s{slot} {plugin} {run_id} since {time.strftime('%H:%M:%S')}"


def _phase(progress: Progress) -> str:
    return f"task {progress.task}/{progress.tasks}" if progress.tasks else "running"
