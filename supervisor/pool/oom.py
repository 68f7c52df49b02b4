"""Whether the kernel killed a worker for want of memory (trap O8).

An OOM kill is a SIGKILL that we did not send, and the counter of our memory cgroup moved: in
`memory.events` of version 2, in `memory.oom_control` of version 1. Where neither can be read
the counter of the whole machine says it, in /proc/vmstat.
"""

import signal
from collections.abc import Callable
from pathlib import Path

from supervisor.pool.reaper import Corpse

CGROUPS = Path("/sys/fs/cgroup")
VMSTAT = Path("/proc/vmstat")


def oom_kills() -> int:
    """Return how many processes the kernel killed for want of memory, in our cgroup."""
    for file in (*_files(Path("/proc/self/cgroup"), CGROUPS), VMSTAT):
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


def _files(own: Path, mounted: Path) -> list[Path]:
    """Return where our counter may stand, the most exact first."""
    found = []
    try:
        lines = own.read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            base, name = mounted / "memory", "memory.oom_control"
        elif not controllers:
            base, name = mounted, "memory.events"
        else:
            continue
        # In a container the path is the host's, and the mount is our own part of it.
        found += [base / path.lstrip("/") / name, base / name]
    return found
