"""How many CPUs we may use, and how busy they are.

The quota of the cgroup counts as Go's automaxprocs counts it: the tightest of our cgroup and
of those above, rounded down, at least 1 (https://github.com/uber-go/automaxprocs). Files are
read below a root folder. Called by worker_settings.py and following.py.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")


@dataclass(frozen=True)
class Quota:
    """So many CPUs for all processes of a cgroup, and the file that counts what they used."""

    cpus: float
    usage: Path


def quota(root: Path = ROOT) -> Quota | None:
    """Return the tightest quota of our cgroup and of those above, None without one."""
    found = [
        Quota(cpus, folder / "cpu.stat")
        for folder in _folders(root, "")
        if (cpus := _cpus_of(_words(folder / "cpu.max"))) is not None
    ]
    # Version 1 counts use with another controller; that of our own cgroup is near enough.
    counted = next(iter(_folders(root, "cpuacct")), root) / "cpuacct.usage"
    for folder in _folders(root, "cpu"):
        words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if (cpus := _cpus_of(words)) is not None:
            found.append(Quota(cpus, counted))
    return min(found, key=lambda one: one.cpus, default=None)


def usable(root: Path = ROOT, allowed: Collection[int] | None = None) -> int:
    """Return how many CPUs we may keep busy: whole ones, at least 1.

    `allowed` are those that the scheduler lets us have; a cpuset shows there, too.
    """
    count = len(os.sched_getaffinity(0) if allowed is None else allowed)
    limit = quota(root)
    return max(1, int(min(count, limit.cpus) if limit else count))


class Meter:
    """How busy our CPUs are, between two looks. All processes count, not ours alone."""

    def __init__(self, root: Path = ROOT, allowed: Collection[int] | None = None) -> None:
        self._root = root
        self._allowed = os.sched_getaffinity(0) if allowed is None else allowed
        self._quota = quota(root)
        self._last: tuple[float, float] | None = None

    def share(self, now: float) -> float:
        """Return the share of them that was in use since the last call; 0 at the first."""
        used_s = self._used_s()
        last, self._last = self._last, (now, used_s)
        if last is None or now <= last[0]:
            return 0.0
        cpus = self._quota.cpus if self._quota else len(self._allowed)
        return max(used_s - last[1], 0.0) / (now - last[0]) / cpus

    def _used_s(self) -> float:
        if self._quota is None:
            return _machine_s(_text(self._root / "proc/stat"), self._allowed)
        text = _text(self._quota.usage)
        if self._quota.usage.name == "cpuacct.usage":
            return int(text or 0) / 1e9
        counts = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return int(counts.get("usage_usec", 0)) / 1e6


def _cpus_of(words: list[str]) -> float | None:
    """Return quota over period; None for "max", -1 and what is no quota.

    >>> _cpus_of(["150000", "100000"]), _cpus_of(["max", "100000"]), _cpus_of([])
    (1.5, None, None)
    """
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        return None
    return int(words[0]) / int(words[1])


def _machine_s(text: str, allowed: Collection[int]) -> float:
    """Return the seconds that these CPUs were not idle (proc(5), /proc/stat)."""
    ticks = 0
    for line in text.splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in allowed:
            user, nice, system, _idle, _iowait, *interrupts = map(int, counts[:8])
            ticks += user + nice + system + sum(interrupts)
    return ticks / os.sysconf("SC_CLK_TCK")


def _folders(root: Path, controller: str) -> list[Path]:
    """Return our cgroup of a controller and those above it, as far as they are mounted.

    "" stands for version 2. In a container the path may be the host's, of which the mount is
    a part (its fourth field), or lie outside of it: then the mount itself is all we see.
    """
    own = _own_path(_text(root / "proc/self/cgroup"), controller)
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, rest = after.partition(" ")
        options = rest.rpartition(" ")[2].split(",")
        if kind != ("cgroup" if controller else "cgroup2") or controller not in [*options, ""]:
            continue
        mounted_part, mounted_at = before.split(" ")[3:5]
        top = root / mounted_at.lstrip("/")
        try:
            below = PurePosixPath(own).relative_to(mounted_part)
        except ValueError:
            return [top]
        return [top / part for part in (below, *below.parents) if ".." not in part.parts]
    return []


def _own_path(text: str, controller: str) -> str:
    for line in text.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if path and controller in controllers.split(","):
            return path
    return "/"


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""
