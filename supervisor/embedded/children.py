"""Starts a program that dies with us: the embedded server, the offline model.

Called by server.py and offline_model.py. It is not for workers: those are the pool's, and
are started another way. It never waits for "any child": the supervisor reaps all of its
children in one place, so a child of ours may be reaped by somebody else at any moment.
"""

import ctypes
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from worker.errors import CrewpoolError

PR_SET_PDEATHSIG = 1
KILL_WITHIN_S = 5.0
BARE = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL")

# Looked up now: between fork and exec nothing may load a library or take a lock.
_LIBC = ctypes.CDLL(None, use_errno=True)


class NotMainThread(CrewpoolError):  # noqa: N818  # named for what happened
    """A program would die with the thread that starts it, so only the main thread may."""

    def __init__(self, program: str) -> None:
        self.program = program
        super().__init__(
            f"{program} was to be started from a side thread and would die with it. "
            "Start it from the main thread."
        )


class Child:
    """A program we started. It gets SIGKILL from the kernel when our main thread ends.

    `pid` stays readable after its end. Signals go through a pidfd, so that a number which
    the system has given to another process meanwhile is never hit.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        output: BinaryIO,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise NotMainThread(str(arguments[0]))
        parent = os.getpid()
        self._program = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            close_fds=True,
            pass_fds=pass_fds,
            preexec_fn=lambda: _die_with(parent),  # noqa: PLW1509  # it takes no lock
            # Ctrl-C in a terminal goes to the whole foreground group, and would end the
            # server while the supervisor still drains.
            process_group=0,
        )
        self.pid = self._program.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._is_asked = False

    def is_alive(self) -> bool:
        """Say whether it still runs; an exited one that nobody reaped yet does not."""
        return not self._has_ended(within_s=0)

    @property
    def pidfd(self) -> int:
        """What can be read when it has ended; -1 after `stop()`."""
        return self._pidfd

    def how_ended(self) -> str:
        """Say how it ended; "" while it runs, and when somebody else has reaped it."""
        with suppress(ChildProcessError):
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if (told := os.waitid(os.P_PIDFD, self._pidfd, options)) is not None:
                is_exit = told.si_code == os.CLD_EXITED
                return f"exit {told.si_status}" if is_exit else _name_of(told.si_status)
        return ""

    def ask(self) -> None:
        """Send TERM, once: to be asked twice means at once to some."""
        if not self._is_asked:
            self._is_asked = True
            self._send(signal.SIGTERM)

    def stop(self, within_s: float) -> None:
        """Ask, wait that long, then KILL. Does nothing when it is gone already."""
        if self._pidfd < 0:
            return
        self.ask()
        if not self._has_ended(within_s):
            self._send(signal.SIGKILL)
            self._has_ended(KILL_WITHIN_S)
        self._let_go()

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):  # somebody else has reaped it
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)

    def _has_ended(self, within_s: float) -> bool:
        if self._pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def _let_go(self) -> None:
        with suppress(ChildProcessError):  # reaped elsewhere: gone is gone
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        os.close(self._pidfd)
        self._pidfd = -1
        # subprocess shall not wait for a number that may belong to another child by now.
        self._program.returncode = 0


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _die_with(parent: int) -> None:
    """Run in the child, between fork and exec."""
    refused = _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the line above; then no signal would ever come.
    if refused or os.getppid() != parent:
        os._exit(127)


def last_lines(log: BinaryIO, most: int = 8) -> str:
    """Return the end of a program's output, for an error message."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4096))
    lines = log.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-most:])


def own_environment() -> dict[str, str]:
    """Return our environment, such that a program finds the same crewpool as we did."""
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def bare_environment() -> dict[str, str]:
    """Return what of `own_environment` a program needs that is told nothing.

    Crews may be of the same user, and could read there what is not for them (P5).
    """
    return {name: value for name, value in own_environment().items() if name in BARE}
