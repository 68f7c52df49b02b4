"""Kills what dead workers left to us.

We are the subreaper of all that crews start, so that a process below us which is neither
worker nor zygote nor a program of ours is a leftover. Called by the pool after deaths.
"""

import os
from collections.abc import Callable, Collection

from supervisor.log import Log
from supervisor.pool import hardkill


class Strays:
    """Remembers whether there may be strays, because looking costs a walk through /proc."""

    def __init__(self, kill_tree: Callable[[int], int], log: Log) -> None:
        self._kill_tree = kill_tree
        self._log = log
        self._are_possible = False

    def suspect(self) -> None:
        """Look at the next opportunity."""
        self._are_possible = True

    def kill(self, known: Collection[int | None]) -> None:
        """Kill our children but the `known`, where there may be some.

        None among the known is a worker whose pid we are about to hear: any child of ours may
        be that one, so that we look later.
        """
        if not self._are_possible or None in known:
            return
        self._are_possible = False
        for stray in hardkill.children_of(os.getpid()) - set(known):
            killed = self._kill_tree(stray)
            self._log.warning("strays_killed", pid=stray, processes=killed)
