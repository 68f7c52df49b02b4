"""Sweeps up after a supervisor that died without a word.

Workers die with the supervisor by the kernel's hand, but what a crew had started (a
browser, a daemon in a session of its own) then belongs to nobody. The zygote is the one
process of ours that is still alive and listening: it kills whatever carries the pool's
mark, and then leaves. Promise P4. The mark stands in two places: in the environment, which
a program may be started without, and in a limit that everybody inherits and may read.
"""

import hashlib
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

# Set by the supervisor, unique to each of its starts; inherited by all that crews start.
MARKER = "CREWPOOL_TREE"
# RLIMIT_LOCKS, which has no name in `resource`: Linux has not enforced it since 2.4.25, and
# shows it in /proc/<pid>/limits also of processes whose environment is closed to us.
_LIMIT = 10
_LIMIT_NAME = b"Max file locks"
# Where the number of threads stands in /proc/<pid>/stat (proc(5)), counted from behind the name.
_THREADS = 17
LIMIT_S = 0.8
PAUSE_S = 0.01
QUIET_ROUNDS = 3


def wear(mark: str) -> None:
    """Put the mark into our limits; what we start inherits it, with an empty environment too.

    Left out where a limit was set already, by a supervisor around ours say.
    """
    number = _number_of(mark)
    with suppress(OSError, ValueError):
        resource.setrlimit(_LIMIT, (number, number))


def sweep(mark: str, cgroup: str = "") -> int:
    """Kill every process but ours that carries this marker, until none is seen any more, and
    all that stands in this control group, whatever it carries. We stand above it.

    Returns how many were killed by their marker. An empty mark kills nothing.
    """
    if cgroup:
        _kill_group(Path(cgroup))
    if not mark:
        return 0
    killed: set[int] = set()
    quiet, until = 0, time.monotonic() + LIMIT_S
    while quiet < QUIET_ROUNDS and time.monotonic() < until:
        found = marked(mark)
        for pid in found:
            _kill(pid)
        killed |= found
        # A few quiet rounds: one of them may have forked while we looked.
        quiet = 0 if found else quiet + 1
        time.sleep(PAUSE_S)
    for group in (*Path(cgroup).glob("w*"), Path(cgroup)) if cgroup else ():
        with suppress(OSError):
            group.rmdir()
    return len(killed)


def marked(mark: str) -> set[int]:
    """Return the pids of living processes, ours excepted, that carry the mark."""
    wanted, number = f"{MARKER}={mark}".encode(), b"%d" % _number_of(mark)
    found = set()
    for entry in (folder.name for folder in Path("/proc").iterdir()):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        in_limits = number in _limit_of(entry) and not _is_over(entry)
        if in_limits or wanted in _environ_of(entry):
            found.add(int(entry))
    return found


def _number_of(mark: str) -> int:
    # A limit can hold less than 2^63.
    return int.from_bytes(hashlib.sha256(mark.encode()).digest()[:7], "big")


def _limit_of(pid: str) -> list[bytes]:
    try:
        lines = Path(f"/proc/{pid}/limits").read_bytes().splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith(_LIMIT_NAME)), [])


def _is_over(pid: str) -> bool:
    """Whether it waits for its parent only: a zombie has limits, but no environment."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    fields = stat[stat.rindex(b")") + 2 :].split(None, _THREADS + 1)
    # One whose first thread has ended looks like a zombie, too, and runs on in the others.
    return fields[0] in (b"Z", b"X") and int(fields[_THREADS]) < 2


def _environ_of(pid: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # gone in between, or not ours to read: not of this pool either way


def _kill_group(folder: Path) -> None:
    with suppress(OSError):  # there is none while no worker was ever there
        (folder / "cgroup.kill").write_text("1")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
