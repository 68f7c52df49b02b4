"""Which runs have more memory than their `memory_hard` allows, and when to look again.

Asked by the loop on each pass. A run's memory is that of its worker, what it shares with the
zygote included, and the share of all programs below it (PSS: a page that n have counts for
1/n). Adding up all that each of them has is cheap and never too little, so that only a sum
above the limit is reckoned exactly. Nothing is looked at while no run has a limit.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from supervisor.pool.handle import Handle, Running, State
from supervisor.pool.hardkill import Place, processes
from supervisor.pool.memory import rss_bytes, share_bytes
from worker.protocol import Outcome
from worker.sizes import text_of

MEMORY_HARD = "memory_hard"
# No crew fills memory faster, so that a look when it could be full at the earliest is enough;
# and not so often that looking becomes work, nor so rarely that children go unseen.
FASTEST_BYTES_S = 2**30
SHORTEST_S, LONGEST_S = 0.05, 0.25
TOGETHER_S = LONGEST_S / 2
# How old what we know of children may be; older where a look at all processes is dear.
CHILDREN_S = 0.2
SELDOM_ALL = 100
# How long an exact look may hold up the loop, of our CPU; and how seldom it must be then.
EXACT_S = 0.02
SELDOM = 10


@dataclass(frozen=True)
class MemoryLimits:
    """What a run may have: above `soft_bytes` its worker is replaced after it, above
    `hard_bytes` it is killed; None without a limit.
    """

    soft_bytes: int | None = None
    hard_bytes: int | None = None


@dataclass
class _Look:
    """A run with a hard limit, and when it is looked at next."""

    run: Running
    hard_bytes: int
    due_at: float


def pause_s(used_bytes: int, hard_bytes: int) -> float:
    """Return how long a run with so much memory needs no look."""
    return min(LONGEST_S, max(SHORTEST_S, (hard_bytes - used_bytes) / FASTEST_BYTES_S))


class Overuse:
    """Watches the runs that have a limit; `limits_of` tells that of a plugin."""

    def __init__(self, limits_of: Callable[[str], MemoryLimits]) -> None:
        self._limits_of = limits_of
        self._looks: dict[int, _Look] = {}
        self._families: Mapping[int, list[int]] = {}
        self._families_until = float("-inf")

    def begin(self, handle: Handle, now: float) -> None:
        """Take note of a run that has just been assigned."""
        assert handle.run is not None  # noqa: S101  # tells the type checker
        limits = self._limits_of(handle.run.plugin)
        handle.soft_bytes = limits.soft_bytes or 0
        self._looks.pop(handle.order, None)
        if limits.hard_bytes is not None:
            look = _Look(handle.run, limits.hard_bytes, now + SHORTEST_S)
            self._looks[handle.order] = look

    def found(self, handles: Iterable[Handle], now: float) -> list[Handle]:
        """Return the workers whose run has too much; `run.overuse` says how much."""
        if not self._looks:
            return []
        busy = {h.order: h for h in handles if h.state is State.BUSY and h.pid is not None}
        self._looks = {
            order: look
            for order, look in self._looks.items()
            if order in busy and busy[order].run is look.run
        }
        if not any(now >= look.due_at for look in self._looks.values()):
            return []
        # Those that are due soon come along: else each run would wake us by itself.
        due = [order for order, look in self._looks.items() if now + TOGETHER_S >= look.due_at]
        if now >= self._families_until:
            self._find_children(now)
        return [busy[order] for order in due if self._has_too_much(busy[order], now)]

    def next_alarm(self) -> float | None:
        """Return when found() may answer differently, None while nothing is watched."""
        return min((look.due_at for look in self._looks.values()), default=None)

    def _has_too_much(self, handle: Handle, now: float) -> bool:
        look, pid = self._looks[handle.order], handle.pid or 0
        began = time.thread_time()
        used = rss_bytes(pid) + sum(map(rss_bytes, self._families.get(pid, ())))
        if used > look.hard_bytes and pid in self._families:
            self._find_children(now)  # one of them may be gone, and its pid another's
            used = _exact_bytes(pid, self._families.get(pid, []), handle.zygote_pid)
            look.run.peak_bytes = max(look.run.peak_bytes, used)
        spent_s = time.thread_time() - began
        look.due_at = now + max(pause_s(used, look.hard_bytes), spent_s * SELDOM)
        if used <= look.hard_bytes or _has_ended(handle, now):
            return False
        told = f"memory_hard of {text_of(look.hard_bytes)}: the run had {text_of(used)}"
        look.run.overuse = told
        return True

    def _find_children(self, now: float) -> None:
        began = time.thread_time()
        self._families = _families(processes())
        spent_s = time.thread_time() - began
        self._families_until = now + max(CHILDREN_S, spent_s * SELDOM_ALL)


def _families(places: Mapping[int, Place]) -> dict[int, list[int]]:
    """Return all that is below each process that has children."""
    families: defaultdict[int, list[int]] = defaultdict(list)
    for pid in places:
        seen, above = {pid}, places[pid].parent
        # Read one by one while they come and go: what we see may be a ring.
        while above in places and above not in seen:
            families[above].append(pid)
            seen.add(above)
            above = places[above].parent
    return families


def _exact_bytes(pid: int, children: Iterable[int], zygote_pid: int) -> int:
    """Return the memory of a worker and what its children have beside it."""
    until = time.thread_time() + EXACT_S
    shared = rss_bytes(zygote_pid)
    total = rss_bytes(pid)
    # The largest first: they decide, should the time not suffice for all.
    for child in sorted(children, key=rss_bytes, reverse=True):
        exact = share_bytes(child) if time.thread_time() < until else 0
        # One that may not be read is a fork of its worker, and has most of it from the zygote.
        total += exact or max(0, rss_bytes(child) - shared)
    return total


def _has_ended(handle: Handle, now: float) -> bool:
    """Whether the run is over, and we only have not heard of it."""
    handle.read(now)
    return any(isinstance(word, Outcome) for word in handle.inbox)
