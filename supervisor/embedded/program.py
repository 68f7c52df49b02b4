"""A command of ours beside the supervisor: what `crewpool up` starts when it is asked for more.

It writes to the same stderr, and sees the environment as it is when it is started.
"""

import sys

from supervisor.embedded.children import Child, own_environment
from supervisor.embedded.companion import Companion

STOP_WITHIN_S = 10.0


class Program(Companion):
    """`crewpool` with these arguments. It is not waited for: it logs when it has begun."""

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self._arguments = arguments

    def start(self) -> None:
        """Start it."""
        if self._child is None:
            self._child = Child(
                [sys.executable, "-P", "-m", "supervisor.cli", *self._arguments],
                output=sys.stderr.buffer,
                environment=own_environment(),
            )

    def stop(self) -> None:
        """Let it finish what is in hand, and end it."""
        if self._child is not None:
            self._child.stop(STOP_WITHIN_S)
            self._child = None
