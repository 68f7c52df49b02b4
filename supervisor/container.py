"""How much memory we may use, how much is in use, and whether anybody stalls for want of it.

Read from our memory cgroup and those above it, of version 2 or 1, else from the machine. All
functions take the root folder, so that tests have kernels of their own. What cannot be read
is left out: a host that tells nothing bounds nothing.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
MACHINE = "machine"
_PRESSURE = re.compile(r"^full avg10=(\d+(?:\.\d+)?)", re.MULTILINE)


@dataclass(frozen=True)
class Level:
    """One bound of our memory. `used_bytes` are those that cannot be had back by dropping
    files that nobody reads; `stall_percent` is the share of the last 10 s in which all that
    wanted to run waited for memory.
    """

    where: str
    limit_bytes: int
    used_bytes: int
    stall_percent: float

    def room_bytes(self, share: float) -> int:
        """Return what is free below this share of the limit; negative above it."""
        return int(self.limit_bytes * share) - self.used_bytes


@dataclass(frozen=True)
class _Files:
    """The names of one version; `limits` apply all."""

    limits: tuple[str, ...]
    used: str
    idle: str


_V2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")
_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


def levels(root: Path = ROOT) -> list[Level]:
    """Return all bounds that hold for us: those of cgroups, else that of the machine."""
    machine = _machine(root)
    most = machine.limit_bytes if machine else 2**62
    found = [_level(folder, files, root) for files, folder in _folders(root)]
    # Version 1 says "none" with a number that no machine has.
    bounds = [level for level in found if level is not None and level.limit_bytes < most]
    return bounds or ([machine] if machine else [])


def tightest(found: list[Level], share: float) -> Level | None:
    """Return the bound with the least room below this share; None when there is none."""
    return min(found, key=lambda level: level.room_bytes(share), default=None)


def kills_all(root: Path = ROOT) -> bool:
    """Whether the kernel ends all processes of our cgroup when one has too much (trap O7).

    Containers of Kubernetes from 1.28 on are set so, with version 2.
    """
    return any(_number(folder / "memory.oom.group") == 1 for folder in cgroup_folders(root))


def cgroup_folders(root: Path = ROOT) -> list[Path]:
    """Return the folders of our memory cgroups, our own first, then those above."""
    return [folder for _, folder in _folders(root)]


def _folders(root: Path) -> list[tuple[_Files, Path]]:
    mounted = root / "sys/fs/cgroup"
    found: list[tuple[_Files, Path]] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            found += [(_V1, folder) for folder in _upward(mounted / "memory", path)]
        elif not controllers:
            found += [(_V2, folder) for folder in _upward(mounted, path)]
    return found


def _upward(mount: Path, path: str) -> list[Path]:
    """Return the folders from a cgroup up to the mount. In a container the path may be the
    host's, and the mount be our own part of it: then only the mount is there.
    """
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        parts = []
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _level(folder: Path, files: _Files, root: Path) -> Level | None:
    limits = [limit for name in files.limits if (limit := _number(folder / name)) is not None]
    used = _number(folder / files.used)
    if not limits or used is None:
        return None
    # As the kubelet reckons what is in use ("working set"): without files that can go.
    idle = _named(folder / "memory.stat", files.idle) or 0
    stall = _stall(folder / "memory.pressure", root / "proc/pressure/memory")
    return Level(str(folder), min(limits), max(0, used - idle), stall)


def _machine(root: Path) -> Level | None:
    file = root / "proc/meminfo"
    total, free = _named(file, "MemTotal:"), _named(file, "MemAvailable:")
    if not total or free is None:
        return None
    stall = _stall(root / "proc/pressure/memory")
    return Level(MACHINE, total * 1024, (total - free) * 1024, stall)


def _stall(*files: Path) -> float:
    """Return what the first of them that can be read says; 0 where the kernel counts none."""
    for file in files:
        if found := _PRESSURE.search(_text(file)):
            return float(found[1])
    return 0.0


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _named(file: Path, name: str) -> int | None:
    """Return the number behind a name, in a file of a name and a number a line."""
    for line in _text(file).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""
