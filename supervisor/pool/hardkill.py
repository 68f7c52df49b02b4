"""Ends a process and everything it started, also what daemonized.

SIGSTOP first, so that nothing forks away while we look; then enumerate until no new
process turns up; then SIGKILL. killpg would miss a child that called setsid (trap O4). The
root must be a child of ours that is not reaped yet, and a subreaper: its pid cannot be
reused and its orphans stay below it.
"""

import os
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

MOST_ROUNDS = 50


def kill_tree(root: int) -> int:
    """Kill a process with all its descendants; return how many were killed. Reaps nothing."""
    _send(root, signal.SIGSTOP)
    tree = {root}
    for _ in range(MOST_ROUNDS):
        found = descendants(root) - tree
        if not found:
            break
        for pid in found:
            _send(pid, signal.SIGSTOP)
        tree |= found
    for pid in tree:
        _send(pid, signal.SIGKILL)
    return len(tree)


def descendants(root: int) -> set[int]:
    """Return the pids of all processes below one, zombies excepted."""
    children = _children_by_parent()
    below: set[int] = set()
    rest = [root]
    while rest:
        for pid in children[rest.pop()]:
            if pid not in below:
                below.add(pid)
                rest.append(pid)
    return below


def children_of(parent: int) -> set[int]:
    """Return the pids of a process's children, zombies excepted."""
    return set(_children_by_parent()[parent])


def _children_by_parent() -> defaultdict[int, list[int]]:
    # /proc/<pid>/task/<tid>/children is absent from many kernels; the stat files never are.
    children: defaultdict[int, list[int]] = defaultdict(list)
    # os.listdir: this runs between SIGSTOP and SIGKILL, and Path objects cost milliseconds.
    for entry in os.listdir("/proc"):  # noqa: PTH208  # see above
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_bytes()
        except OSError:
            continue  # gone in between
        # The name in parentheses may hold anything, blanks and parentheses too.
        state, parent = stat[stat.rindex(b")") + 2 :].split(None, 2)[:2]
        if state not in (b"Z", b"X"):
            children[int(parent)].append(int(entry))
    return children


def _send(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
