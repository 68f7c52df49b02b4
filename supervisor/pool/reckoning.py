"""Reckons up a run at its end: what it used, and what it left behind in its worker.

Called by the pool when an outcome comes, and when a worker is buried with its run.
"""

from dataclasses import replace

from supervisor.pool import usage
from supervisor.pool.cgroups import Cgroups
from supervisor.pool.handle import Handle
from supervisor.pool.reaper import Corpse
from supervisor.pool.remains import Lookout, Remains, of_run, open_fds
from supervisor.pool.usage import Usage


class Reckoning:
    """Fills in `ended_at`, `used` and `left` of a run, and what its worker has become."""

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._lookout = Lookout()

    def at_outcome(self, handle: Handle, now: float) -> None:
        """Look at a worker whose run has just ended by itself."""
        run = handle.run
        if run is None or run.outcome is None or handle.pid is None or run.used is not None:
            return
        run.ended_at = now
        seen = usage.look(handle.pid)
        if seen is None:
            return  # it died a moment ago: its corpse tells
        run.used = _of_run(seen, run.before, run.peak_bytes)
        handle.rss_bytes = seen.rss_bytes
        if handle.is_all_grouped:
            children = self._cgroups.others(handle)
        else:
            children = self._lookout.children_of(handle.pid, now)
        more_fds = open_fds(handle.pid) - handle.first_fds
        run.left = handle.left = of_run(run.outcome.left, seen, children, more_fds)

    def at_death(self, handle: Handle, corpse: Corpse, now: float) -> None:
        """Reckon up the run that a worker took along. What it left died with it."""
        run = handle.run
        if run is None or run.used is not None or not corpse.pid:
            return
        run.ended_at = run.ended_at or now
        run.used = _of_run(usage.of_corpse(corpse), run.before, run.peak_bytes)
        run.left = Remains()


def _of_run(seen: Usage, before: Usage, peak_bytes: int) -> Usage:
    used = seen.since(before)
    return replace(used, max_rss_bytes=max(used.max_rss_bytes, peak_bytes))
