"""Ends workers and zygotes with all that they started, by the shortest way there is.

Called by the pool, which decides whom. A worker's control group dies by one write; without
one its tree is looked for in /proc.
"""

import os
import signal
from collections.abc import Collection
from contextlib import suppress

from supervisor.pool import hardkill
from supervisor.pool.handle import Handle
from supervisor.pool.scene import read_scene
from supervisor.pool.spawner import Spawner


class Kills:
    """The hard kills of one pool. Nothing is reaped here but zygotes, at the end."""

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner

    def workers(self, handles: Collection[Handle]) -> None:
        """Kill workers, with one look through /proc for all of them that need one.

        A worker without a pid, whose zygote owes us that, is killed with the zygote.
        """
        owing = {handle.zygote_pid for handle in handles if handle.pid is None}
        for zygote in self._spawner.zygotes:
            if zygote.pid in owing:
                hardkill.kill_tree(zygote.pid)
        groups, rest = self._spawner.cgroups, {}
        for handle in handles:
            if handle.pid is None:
                continue
            if handle.run is not None and handle.run.scenes:
                # The second look: what ran in both of them burns CPU.
                handle.run.scenes.append(read_scene(handle.pid, briefly=True))
            # What got out of its group is an orphan of ours then, and goes as strays go.
            if not handle.is_all_grouped or not groups.kill(handle):
                rest[handle.pid] = handle
                continue
            # It may have moved itself out: crews write where we do, unless they are another user.
            with suppress(ProcessLookupError):
                os.kill(handle.pid, signal.SIGKILL)
        if rest:
            self.tree(*rest)
            for handle in rest.values():
                groups.kill(handle)

    def tree(self, *roots: int) -> int:
        """Kill processes and all below them; return how many were killed."""
        return hardkill.kill_trees(roots, {zygote.pid for zygote in self._spawner.zygotes})

    def zygotes(self) -> None:
        """Kill and collect the zygotes; for the end, when no worker is wanted any more."""
        for zygote in self._spawner.zygotes:
            hardkill.kill_tree(zygote.pid)
            with suppress(ChildProcessError):
                os.waitpid(zygote.pid, 0)
        self._spawner.cgroups.close()
