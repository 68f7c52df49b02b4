"""A command of ours beside the supervisor: what `crewpool up` starts when it is asked for more.

It writes to the same stderr, and sees the environment as it is when it is started.
"""

import sys
from collections.abc import Sequence

from supervisor.embedded.children import Child, own_environment
from supervisor.embedded.companion import Companion

STOP_WITHIN_S = 10.0


class Program(Companion):
    """`crewpool` with these arguments, and these open files of ours.

    It is not waited for: it logs when it has begun.
    """

    def __init__(self, *arguments: str, pass_fds: Sequence[int] = ()) -> None:
        super().__init__()
        self._arguments = arguments
        self._pass_fds = pass_fds

    def start(self) -> None:
        """Start it."""
        if self._child is None:
            self._child = Child(
                [sys.executable, "-P", "-m", "supervisor.cli", *self._arguments],
                output=sys.stderr.buffer,
                environment=own_environment(),
                pass_fds=self._pass_fds,
            )

    def stop(self) -> None:
        """Let it finish what is in hand, and end it."""
        if self._child is not None:
            self._child.stop(STOP_WITHIN_S)
            self._child = None
