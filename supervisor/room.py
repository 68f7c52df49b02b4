"""Which runs there is memory for: pure decisions from facts, carried out by admission.py."""

from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.container import Level

# Why a run does not begin.
MEMORY, STALL, NO_ROOM = "memory", "stall", "no_room"
REASONS = (MEMORY, STALL, NO_ROOM)


@dataclass(frozen=True)
class Marks:
    """Up to where memory is used: a share of the limit, and percent of time stalled (0: any)."""

    share: float = 0.9
    stall_percent: float = 10.0


@dataclass(frozen=True)
class Waiter:
    """A taken run that could begin: what it needs beyond what is in use, and since when it
    waits; `stays` if it is not given back again.
    """

    slot: int
    need_bytes: int = 0
    since: float = 0.0
    stays: bool = False


def admits(level: Level | None, marks: Marks, need_bytes: int = 0) -> str:
    """Return why no run with this need begins now, "" when one does. None bounds nothing."""
    if level is None:
        return ""
    room_bytes = level.room_bytes(marks.share)
    if room_bytes < 0:
        return MEMORY
    if marks.stall_percent and level.stall_percent > marks.stall_percent:
        return STALL
    return NO_ROOM if need_bytes > room_bytes else ""


def choose(
    waiters: Iterable[Waiter], level: Level | None, marks: Marks, owed_bytes: int, *, is_idle: bool
) -> tuple[set[int], str]:
    """Return the slots whose run begins now, and why no further run does.

    `owed_bytes` is what runs that are on may still come to need; `is_idle` if there are none.
    Then the first begins whatever is free: waiting would free nothing.
    """
    begin: set[int] = set()
    because = ""
    for waiter in sorted(waiters, key=lambda one: (not one.stays, one.since)):
        is_alone = is_idle and not begin
        refused = "" if is_alone else admits(level, marks, owed_bytes + waiter.need_bytes)
        if not refused:
            begin.add(waiter.slot)
            owed_bytes += waiter.need_bytes
            continue
        because = because or refused
        if waiter.stays:
            break
    return begin, because or admits(level, marks, owed_bytes)
