"""Sweeps up after a supervisor that died without a word.

Workers die with the supervisor by the kernel's hand, but what a crew had started (a
browser, a daemon in a session of its own) then belongs to nobody. The zygote is the one
process of ours that is still alive and listening: it kills whatever carries the pool's
marker in its environment, and then leaves. Promise P4.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

# Set by the supervisor, unique to each of its starts; inherited by all that crews start.
MARKER = "CREWPOOL_TREE"
LIMIT_S = 0.8
PAUSE_S = 0.01
QUIET_ROUNDS = 3


def sweep(mark: str) -> int:
    """Kill every process but ours that carries this marker, until none is seen any more.

    Returns how many were killed. An empty mark kills nothing.
    """
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
    return len(killed)


def marked(mark: str) -> set[int]:
    """Return the pids, ours excepted, whose environment holds the marker."""
    wanted = f"{MARKER}={mark}".encode()
    found = set()
    for entry in (folder.name for folder in Path("/proc").iterdir()):
        if entry.isdigit() and int(entry) != os.getpid() and wanted in _environ_of(entry):
            found.add(int(entry))
    return found


def _environ_of(pid: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # gone in between, or not ours to read: not of this pool either way


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
