"""What a process has used, read from outside: CPU, page faults, threads, memory.

One reading of /proc/<pid>/stat (proc(5)) and one of its status, 15 us together. Called by the
pool when a run begins and when it ends; what lies between the two is the run's. A crew can
say what it likes, this comes from the kernel.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace

from supervisor.pool.reaper import Corpse

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PEAK = re.compile(rb"^VmHWM:\s*(\d+) kB", re.MULTILINE)
# Places in stat behind the name, counted from 0: the numbers of proc(5) less three.
_MINFLT, _CMINFLT, _MAJFLT, _CMAJFLT, _UTIME, _STIME, _CUTIME, _CSTIME = range(7, 15)
_THREADS, _RSS = 17, 21


@dataclass(frozen=True)
class Usage:
    """What a process and its children that ended have used. Times in seconds.

    `max_rss_bytes` is the peak since begin(); `threads` and `rss_bytes` are of the moment.
    """

    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    minor_faults: int = 0
    major_faults: int = 0
    max_rss_bytes: int = 0
    rss_bytes: int = 0
    threads: int = 0

    def since(self, before: "Usage") -> "Usage":
        """Return what was used between two looks."""
        return replace(
            self,
            cpu_user_s=max(0.0, self.cpu_user_s - before.cpu_user_s),
            cpu_system_s=max(0.0, self.cpu_system_s - before.cpu_system_s),
            minor_faults=max(0, self.minor_faults - before.minor_faults),
            major_faults=max(0, self.major_faults - before.major_faults),
        )


def begin(pid: int) -> Usage:
    """Start to measure: forget the peak of memory so far, and look."""
    # 5 is "reset the peak" (proc(5)); it touches no page. Not there in every sandbox: then
    # the peak is that of the process's life.
    with suppress(OSError), open(f"/proc/{pid}/clear_refs", "wb") as file:  # noqa: PTH123  # dear
        file.write(b"5")
    return look(pid) or Usage()


def look(pid: int) -> Usage | None:
    """Return what a living process has used so far; None when it is gone."""
    stat, status = _read(pid, "stat"), _read(pid, "status")
    return parse(stat, status) if stat else None


def parse(stat: bytes, status: bytes) -> Usage:
    r"""Return what the two files say.

    >>> stat = b"7 (a ) b) S 1 1 1 0 -1 0 10 1 2 1 150 50 30 20 20 0 3 0 9 4096 2 99"
    >>> usage = parse(stat, b"VmPeak:\t 9 kB\nVmHWM:\t 8 kB\n")
    >>> usage.minor_faults, usage.major_faults, usage.threads, usage.max_rss_bytes
    (11, 3, 3, 8192)
    """
    # The name in parentheses may hold anything, blanks and parentheses too.
    fields = stat[stat.rindex(b")") + 2 :].split()
    peak = _PEAK.search(status)
    return Usage(
        cpu_user_s=(int(fields[_UTIME]) + int(fields[_CUTIME])) / _TICKS_PER_S,
        cpu_system_s=(int(fields[_STIME]) + int(fields[_CSTIME])) / _TICKS_PER_S,
        minor_faults=int(fields[_MINFLT]) + int(fields[_CMINFLT]),
        major_faults=int(fields[_MAJFLT]) + int(fields[_CMAJFLT]),
        max_rss_bytes=int(peak[1]) * 1024 if peak else 0,
        rss_bytes=int(fields[_RSS]) * _PAGE_BYTES,
        threads=int(fields[_THREADS]),
    )


def of_corpse(corpse: Corpse) -> Usage:
    """Return what a process used that was reaped; the peak is its largest child's, if larger."""
    return Usage(
        corpse.cpu_user_s,
        corpse.cpu_system_s,
        corpse.minor_faults,
        corpse.major_faults,
        corpse.max_rss_bytes,
    )


def _read(pid: int, name: str) -> bytes:
    try:
        # open(): Path objects cost more than the reading.
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123  # see above
            return file.read()
    except OSError:
        return b""  # gone in between
