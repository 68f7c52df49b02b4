"""One worker as seen from here: its slot, its pid, its socket, its log pipe, its run.

It knows nothing of Redis and does not contain what a worker does. Reading and writing never
block: the loop has one thread.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from supervisor.pool.deadlines import Deadline
from supervisor.pool.lastwords import LastWords
from supervisor.pool.loglines import LogLines
from supervisor.pool.remains import Remains, open_fds
from supervisor.pool.scene import Scene
from supervisor.pool.usage import Usage, begin
from worker.errors import FrameInvalid
from worker.protocol import Alone, Assignment, Decoder, Message, Outcome, Progress, Ready, encode

READ_BYTES = 1 << 16
READS_AT_ONCE = 4  # as much as a socket holds
# A crew tells some words a second. One that tells thousands wants to keep us from the others.
WORDS_PER_S = 500.0
MOST_WORDS = 2000.0


class State(Enum):
    """BOOTING → IDLE ⇄ BUSY → DOOMED → GONE; forward only but for IDLE and BUSY."""

    BOOTING = "booting"
    IDLE = "idle"
    BUSY = "busy"
    DOOMED = "doomed"
    GONE = "gone"


@dataclass
class Running:
    """The run that a worker has in hand."""

    run_id: str
    plugin: str
    attempt: int
    started_at: float
    deadline: Deadline
    progress: Progress
    outcome: Outcome | None = None
    # What is seen of it once its deadline has passed; see overdue.py.
    scenes: list[Scene] = field(default_factory=list)
    last_words: LastWords | None = None
    left_off_late: bool = False
    peak_bytes: int = 0  # the most memory that was seen by watching, children included
    overuse: str = ""  # of memory, as a sentence
    # What the worker had used before; at the end what the run used and left (reckoning.py).
    before: Usage = field(default_factory=Usage)
    used: Usage | None = None
    left: Remains | None = None
    ended_at: float | None = None


class Handle:
    """A worker from its order to its burial. One slot has many of them, one after another."""

    def __init__(self, slot: int, order: int, ordered_at: float, generation: int) -> None:
        self.slot = slot
        self.order = order
        self.ordered_at = ordered_at
        self.generation = generation
        self.pid: int | None = None
        # In a control group of its own; and whether that holds all that its runs started.
        self.is_grouped = False
        self.is_all_grouped = True
        self.zygote_pid = 0
        # Hashes of the plugins that its zygote has imported.
        self.code: Mapping[str, str] = {}
        self.state = State.BOOTING
        self.run: Running | None = None
        self.doomed_because = ""
        self.runs_done = 0
        self.berth: Literal[0, 1] = 0
        self.is_alone = True
        self.stretch = 1.0  # of its limits, see recycling.py
        # As they were after its last run.
        self.rss_bytes = 0
        self.left = Remains()
        self.first_fds = 0
        self.ran: set[str] = set()
        self.has_secrets = False
        self.soft_bytes = 0  # memory above which its run was its last; 0: no limit
        self.faulty = ""
        self.eof_at: float | None = None
        self.is_log_over = False
        self._decoder = Decoder()
        self._words_left, self._counted_at = MOST_WORDS, ordered_at
        self._unsent = bytearray()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        log_read, log_write = os.pipe()
        os.set_blocking(log_read, False)
        self.sock = ours
        self.log_fd = log_read
        self.lines = LogLines()
        self.inbox: deque[Message] = deque()
        self._given = (theirs, log_write)

    @property
    def is_overdue(self) -> bool:
        """Whether its run is being ended."""
        return self.run is not None and self.run.deadline.is_over

    @property
    def has_served(self) -> bool:
        """Whether it has ended a run."""
        return self.runs_done > 0 or (self.run is not None and self.run.outcome is not None)

    def doom(self, because: str) -> None:
        """Note that it is to be killed. The first reason counts."""
        self.doomed_because = self.doomed_because or because
        self.state = State.DOOMED

    def descriptors_to_give(self) -> tuple[int, int]:
        """Return the worker's ends; `given_away()` closes them once the zygote has them."""
        return self._given[0].fileno(), self._given[1]

    def given_away(self) -> None:
        """Close our copies of the worker's ends: only then does its death show as EOF."""
        self._given[0].close()
        os.close(self._given[1])

    def assign(self, run: Assignment, now: float, deadline: Deadline) -> None:
        """Send a run to an idle worker and start its clock."""
        self.run = Running(
            run.run_id, run.plugin, run.attempt, now, deadline, Progress(run_id=run.run_id)
        )
        self.state = State.BUSY
        self.is_all_grouped &= self.is_grouped
        if self.pid is not None:
            self.run.before = begin(self.pid)
            self.first_fds = self.first_fds or open_fds(self.pid)
        self.ran.add(run.plugin)
        self.has_secrets |= bool(run.env)
        self._unsent += encode(run)
        self.flush()

    def leave_alone(self) -> None:
        """Tell a worker that was ordered ahead that the one before it is gone."""
        if not self.is_alone:
            self.is_alone = True
            self._unsent += encode(Alone())
            self.flush()

    def flush(self) -> bool:
        """Send what the socket takes now; True when nothing is left."""
        while self._unsent:
            try:
                sent = self.sock.send(self._unsent)
            except BlockingIOError:
                return False
            except OSError:
                # The worker is gone; its death will say so. Nothing here is worth keeping.
                self._unsent.clear()
                break
            del self._unsent[:sent]
        return True

    def read(self, now: float) -> None:
        """Take in what the worker said, into the inbox. A broken frame dooms the worker."""
        # Not until it is silent: one that talks faster than we read would keep us here.
        for _ in range(READS_AT_ONCE):
            if self.eof_at is not None or self.faulty:
                return
            try:
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.eof_at = now
                return
            try:
                words = self._decoder.feed(data)
            except FrameInvalid as error:
                self.faulty = str(error)
                return
            for word in words:
                self._put(word)
            self._count(len(words), now)

    def _count(self, words: int, now: float) -> None:
        refilled = self._words_left + (now - self._counted_at) * WORDS_PER_S
        self._words_left, self._counted_at = min(refilled, MOST_WORDS) - words, now
        if self._words_left < 0:
            self.faulty = "said more than anybody can hear"

    def _put(self, word: Message) -> None:
        last = self.inbox[-1] if self.inbox else None
        # Of progress in a row only the last counts: who floods us costs no more than its words.
        if isinstance(word, Progress) and isinstance(last, Progress) and word.run_id == last.run_id:
            self.inbox.pop()
        self.inbox.append(word)

    def note(self, word: Message) -> bool:
        """Take one report into account; True when the loop should hear of it.

        What does not fit our state makes the worker faulty. Late progress does not: a thread
        that a crew left behind may still be talking of the run before.
        """
        if isinstance(word, Ready) and self.state is State.BOOTING:
            self.state = State.IDLE
            return True
        is_ours = self.run is not None and getattr(word, "run_id", None) == self.run.run_id
        if isinstance(word, Progress):
            if self.run is not None and is_ours:
                self.run.progress = word
            return is_ours
        if isinstance(word, Outcome) and self.run is not None and is_ours:
            if self.run.deadline.is_final:
                self.run.left_off_late = True
                return False
            self.run.outcome = word
            return True
        self.faulty = f"said {word.kind!r} while {self.state.value}"
        return False

    def read_log(self, tell: Callable[[str], None], now: float) -> bool:
        """Pass on complete lines of the crew's stdout and stderr; False when none came."""
        try:
            data = os.read(self.log_fd, READ_BYTES)
        except BlockingIOError:
            return False
        self.lines.feed(data, tell, now)
        self.is_log_over = not data
        return bool(data)

    def close(self) -> None:
        """Close our ends. The log is read to its end before."""
        self.sock.close()
        os.close(self.log_fd)
        self.state = State.GONE
