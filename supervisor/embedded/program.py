"""A command of ours beside the supervisor: what `crewpool up` starts when it is asked for more.

It writes to the same stderr, and sees the environment as it was at its first start.
"""

import select
import socket
import sys
import time
from contextlib import suppress

from supervisor.embedded.children import Child, own_environment
from supervisor.embedded.companion import Companion
from worker.errors import CrewpoolError

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
_QUESTION = b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n"


class ProgramFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """A command ended before it answered. What it said stands on stderr already."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"`crewpool {name}` {what}, and nothing was started without it")


class Program(Companion):
    """`crewpool` with these arguments, which answers GET /health/live on this socket.

    We listen, and go on listening: no port can be lost to somebody else in between, and who
    comes while it is started again waits in the backlog.
    """

    def __init__(self, *arguments: str, listening: socket.socket) -> None:
        super().__init__()
        self.name = " ".join(arguments)
        self._arguments = arguments
        self._listening = listening
        self._port = listening.getsockname()[1]
        self._environment = own_environment()

    def start(self) -> None:
        """Start it, unless that was begun, and wait until it answers. Raises ProgramFailed."""
        if self._child is None:
            self.begin()
        if trouble := self._trouble():
            self.stop()
            raise ProgramFailed(self.name, trouble)

    def begin(self) -> None:
        """Start it and wait for nothing."""
        number = self._listening.fileno()
        self._child = Child(
            [
                *(sys.executable, "-P", "-m", "supervisor.cli"),
                *(*self._arguments, "--listening", str(number)),
            ],
            output=sys.stderr.buffer,
            environment=self._environment,
            pass_fds=(number,),
        )

    def begin_again(self) -> None:
        """Start it on the same socket."""
        self.child.stop(STOP_WITHIN_S)
        self.begin()

    def stop(self) -> None:
        """Let it finish what is in hand, and end it."""
        if self._child is not None:
            self._child.stop(STOP_WITHIN_S)
            self._child = None
        self._listening.close()

    def _trouble(self) -> str:
        """Return "" once it answers, else what went wrong."""
        give_up_at = time.monotonic() + READY_WITHIN_S
        with suppress(OSError), socket.create_connection(self._address(), READY_WITHIN_S) as line:
            line.sendall(_QUESTION)
            poll = select.poll()
            for readable in (line.fileno(), self.child.pidfd):
                poll.register(readable, select.POLLIN)
            poll.poll((give_up_at - time.monotonic()) * 1000)
            if self.is_alive() and line.recv(64).partition(b" ")[2].startswith(b"200"):
                return ""
        how = self.child.how_ended()
        return f"ended ({how})" if how else f"did not answer within {READY_WITHIN_S:g} s"

    def _address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()[:2]
        return host, port
