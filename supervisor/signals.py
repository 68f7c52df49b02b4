"""Signals: handlers only note and ring; the loop acts.

PID 1 without handlers ignores TERM (trap O6), so they are installed before anything else.
"""

import asyncio
import signal
from collections import deque
from collections.abc import Callable

from supervisor.phases import Ask

ASKS = {
    signal.SIGTERM: (Ask.DRAIN,),
    signal.SIGINT: (Ask.STOP,),
    signal.SIGQUIT: (Ask.STACKS, Ask.STOP),
    signal.SIGHUP: (Ask.RELOAD,),
    signal.SIGTTIN: (Ask.MORE,),
    signal.SIGTTOU: (Ask.LESS,),
    signal.SIGUSR1: (Ask.SNAPSHOT,),
}


class Signals:
    """The requests that came in as signals, in order."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._asked: deque[Ask] = deque()

    def install(self) -> None:
        """Handle all signals we know, and SIGCHLD, which only rings."""
        loop = asyncio.get_running_loop()
        for signum, asks in ASKS.items():
            loop.add_signal_handler(signum, self.ask, *asks)
        loop.add_signal_handler(signal.SIGCHLD, self._ring)

    def ask(self, *asks: Ask) -> None:
        """Note a request, from a signal or from inside."""
        self._asked.extend(asks)
        self._ring()

    def take(self) -> list[Ask]:
        """Return what was asked since the last call."""
        asked, self._asked = list(self._asked), deque()
        return asked
