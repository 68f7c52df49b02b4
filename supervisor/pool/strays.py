"""Kills what dead workers left to us.

We are the subreaper of all that crews start, so that a process below us which is neither
worker nor zygote nor a program of ours is a leftover. Called by the pool after deaths.
"""

import os
from collections.abc import Callable, Collection

from supervisor.log import Log
from supervisor.pool import hardkill

# How often to look where nothing speaks for strays but that a run has ended.
CONSIDER_EVERY_S = 0.5


class Strays:
    """Remembers whether there may be strays, because looking costs a walk through /proc."""

    def __init__(self, kill_trees: Callable[..., int], log: Log) -> None:
        self._kill_trees = kill_trees
        self._log = log
        self._are_possible = False
        # When a run has ended: it may have left what never was below its worker, by CLONE_PARENT,
        # or by taking from the worker that it adopts orphans.
        self.are_considered = False
        self._walked_at = float("-inf")

    def suspect(self) -> None:
        """Look at the next opportunity."""
        self._are_possible = True

    def kill(self, known: Collection[int | None], now: float) -> None:
        """Kill our children but the `known`, where there may be some.

        None among the known is a worker whose pid we are about to hear: any child of ours may
        be that one, so that we look later.
        """
        is_due = self.are_considered and now >= self._walked_at + CONSIDER_EVERY_S
        if not (self._are_possible or is_due) or None in known:
            return
        self._are_possible = self.are_considered = False
        self._walked_at = now
        if strays := hardkill.children_of(os.getpid()) - set(known):
            # All at once: of a storm of forks hundreds come to us, most of them dying already.
            killed = self._kill_trees(*strays)
            self._log.warning("strays_killed", pid=min(strays), processes=killed)
