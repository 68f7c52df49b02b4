"""Gives a fresh worker its niceness and its CPU, when its pid becomes known.

From outside, so that it needs no words of the protocol: what the worker starts later inherits
both, and until its first run it has one thread.
"""

import os
from contextlib import suppress

from supervisor.pool.handle import Handle


class Placing:
    """`by_slot` keeps the worker of slot k on the k-th usable CPU, modulo their number."""

    def __init__(self, nice: int, *, by_slot: bool) -> None:
        # Nobody but root may be less nice than we are.
        self._nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))
        self._cpus = sorted(os.sched_getaffinity(0)) if by_slot else []

    def place(self, worker: Handle) -> None:
        """Place a worker that has a pid and no run yet."""
        if worker.pid is None:
            return
        # It may be gone already, which its death will say; or the CPU is.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, worker.pid, self._nice)
            if self._cpus:
                os.sched_setaffinity(worker.pid, {self._cpus[worker.slot % len(self._cpus)]})
