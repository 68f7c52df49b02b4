"""Whether the kernel killed a worker for want of memory (trap O8).

An OOM kill is a SIGKILL that we did not send, and the counter of our memory cgroup moved: in
`memory.events` of version 2, in `memory.oom_control` of version 1. Where neither can be read
the counter of the whole machine says it, in /proc/vmstat.
"""

import signal
from collections.abc import Callable
from pathlib import Path

from supervisor.container import ROOT, cgroup_folders
from supervisor.pool.reaper import Corpse

COUNTERS = ("memory.events", "memory.oom_control")


def oom_kills(root: Path = ROOT) -> int:
    """Return how many processes the kernel killed for want of memory, in our cgroup.

    Where ours has no counter, because its memory is counted above, that of the one above says it.
    """
    files = [folder / name for folder in cgroup_folders(root) for name in COUNTERS]
    for file in (*files, root / "proc/vmstat"):
        if (count := count_in(file)) is not None:
            return count
    return 0


def count_in(file: Path) -> int | None:
    """Return the value of `oom_kill` in a file of names and numbers, None without one."""
    try:
        text = file.read_text("ascii", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


class OomWatch:
    """Tells kernel's kills from others, each once."""

    def __init__(self, count: Callable[[], int] = oom_kills) -> None:
        self._count = count
        self._seen = count()
        self._unexplained = 0

    def explains(self, corpse: Corpse) -> bool:
        """Whether this death was the kernel's doing. Ask for those only that we did not kill."""
        if corpse.signal != signal.SIGKILL:
            return False
        now = self._count()
        self._unexplained += max(0, now - self._seen)
        self._seen = now
        if not self._unexplained:
            return False
        self._unexplained -= 1
        return True
