"""Ends a process and everything it started, also what daemonized.

SIGSTOP first, so that nothing forks away while we look; then enumerate until no new
process turns up; then SIGKILL, to each process and to each of their groups. The pids alone
would miss one that forks and leaves faster than we read /proc; killpg alone would miss a
child that called setsid (trap O4). The root must be a child of ours that is not reaped yet,
and a subreaper: its pid cannot be reused and its orphans stay below it.
"""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

# The loop stands still meanwhile; what is not found by then is found when its parts die.
LIMIT_S = 0.02
STOP_S = 0.01
# Where the number of threads stands in a stat file (proc(5)), counted from behind the name.
THREADS = 17


class Place(NamedTuple):
    """Where a process stands: its parent, its group, its session."""

    parent: int
    group: int
    session: int


def kill_tree(root: int, spare: Collection[int] = ()) -> int:
    """Kill a process with all its descendants; return how many were killed. Reaps nothing.

    `spare` are process groups that must live: a worker that has not left its zygote's group
    yet must not take the zygote along. Our own is always spared.
    """
    return kill_trees((root,), spare)


def kill_trees(roots: Collection[int], spare: Collection[int] = ()) -> int:
    """Do the same to several processes, with the looks through /proc that one would need."""
    for root in roots:
        _send(root, signal.SIGSTOP)
    tree, until = set(roots), time.monotonic() + LIMIT_S
    places = processes()
    while found := _below(roots, places) - tree:
        for pid in found:
            _send(pid, signal.SIGSTOP)
        tree |= found
        if time.monotonic() >= until:
            break
        places.update(processes())
    groups = {places[pid].group for pid in tree if pid in places} - {os.getpgrp(), *spare}
    for group in groups:
        with suppress(ProcessLookupError):
            # To a group the signal is atomic: nobody in it forks past it.
            os.killpg(group, signal.SIGKILL)
    for pid in tree:
        _send(pid, signal.SIGKILL)
    return len(tree)


def stop_below(roots: Collection[int]) -> None:
    """Stop what processes have started, and not themselves: a storm of forks would take the
    CPUs from what is still to be done before the kill. One look through /proc serves them all.
    """
    stopped: set[int] = set()
    until = time.monotonic() + STOP_S
    while found := _below(roots, processes()) - stopped:
        for pid in found:
            _send(pid, signal.SIGSTOP)
        stopped |= found
        if time.monotonic() >= until:
            return


def descendants(root: int) -> set[int]:
    """Return the pids of all processes below one, zombies excepted."""
    return _below((root,), processes())


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, of a zombie too; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # see processes()
            stat = file.read()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split(None, 2)[1])


def children_of(parent: int) -> set[int]:
    """Return the pids of a process's children, zombies excepted."""
    return {pid for pid, place in processes().items() if place.parent == parent}


def processes() -> dict[int, Place]:
    """Return where every living process stands, zombies excepted."""
    # /proc/<pid>/task/<tid>/children is absent from many kernels; the stat files never are.
    found: dict[int, Place] = {}
    # os.listdir and os.open: this runs between SIGSTOP and SIGKILL, and Path objects cost
    # milliseconds.
    for entry in os.listdir("/proc"):  # noqa: PTH208  # see above
        if entry.isdigit() and (place := _place_of(entry)) is not None:
            found[int(entry)] = place
    return found


def _place_of(entry: str) -> Place | None:
    try:
        with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123  # see processes()
            stat = file.read()
    except OSError:
        return None  # gone in between
    # The name in parentheses may hold anything, blanks and parentheses too.
    fields = stat[stat.rindex(b")") + 2 :]
    state, parent, group, session = fields.split(None, 4)[:4]
    # A process whose first thread has ended looks like a zombie, and runs on in the others.
    if state in (b"Z", b"X") and int(fields.split(None, THREADS + 1)[THREADS]) < 2:
        return None
    return Place(int(parent), int(group), int(session))


def _below(roots: Collection[int], places: dict[int, Place]) -> set[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid, place in places.items():
        children[place.parent].append(pid)
    below: set[int] = set()
    rest = [*roots]
    while rest:
        for pid in children[rest.pop()]:
            if pid not in below:
                below.add(pid)
                rest.append(pid)
    return below


def _send(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)
