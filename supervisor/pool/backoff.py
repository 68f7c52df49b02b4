"""How long to wait before starting again, and when starting again cannot help.

Pure: counts of failures in a row and times in, times out. Used by the pool for its slots and
by the spawner for the zygote.
"""

from collections.abc import Collection

FIRST_S = 1.0
LONGEST_S = 30.0
GIVE_UP_AFTER = 5


def delay_s(failures: int) -> float:
    """Return the wait before the next start: none, then 1, 2, 4, … up to 30 s.

    >>> [delay_s(n) for n in (0, 1, 2, 3, 9)]
    [0.0, 1.0, 2.0, 4.0, 30.0]
    """
    if failures <= 0:
        return 0.0
    return min(FIRST_S * 2.0 ** min(failures - 1, 10), LONGEST_S)


def is_hopeless(failures: int, *, has_workers: bool) -> bool:
    """Tell whether to give up: it failed so often, and never once worked in between.

    Not while there are workers that run crews, or could: they need nobody to boot.
    """
    return failures >= GIVE_UP_AFTER and not has_workers


class Restarts:
    """When each slot may have its next worker.

    A worker that cannot boot is waited for, and so is one that dies by itself when the one
    before it did, too, and neither ended a run: a crash loop costs others their CPU. The first
    death is mended at once, and those that were our doing always are.
    """

    def __init__(self) -> None:
        self._not_before: dict[int, float] = {}
        self._deaths: dict[int, int] = {}
        self._failed_boots: dict[int, int] = {}
        self.last_fault = ""

    @property
    def are_failing(self) -> bool:
        """Whether a boot has failed since any worker last booted."""
        return bool(self._failed_boots)

    def failed_boots(self, slots: Collection[int]) -> int:
        """Return the failures in a row of that of these slots which has least, since any worker
        last booted: as long as one may still boot, or has not tried as often, there is hope.
        """
        return min((self._failed_boots.get(slot, 0) for slot in slots), default=0)

    def not_before(self, slot: int) -> float:
        """Return when the slot may have a worker; 0 when it may at any time."""
        return self._not_before.get(slot, 0.0)

    def note_boot(self) -> None:
        """Forget failed boots: some worker booted, so starting is not hopeless."""
        self._failed_boots.clear()

    def note_failed_boot(self, slot: int, now: float, fault: str) -> None:
        """Count a worker that died before it was ready."""
        self.last_fault = fault
        self._failed_boots[slot] = self._failed_boots.get(slot, 0) + 1
        self._not_before[slot] = now + delay_s(self._failed_boots[slot])

    def note_death(self, slot: int, now: float, *, by_itself: bool, has_served: bool) -> float:
        """Count the death of a worker that had been ready; return the wait for the next (s).

        `has_served` is whether it had ended a run.
        """
        if has_served:
            self._deaths.pop(slot, None)
        if by_itself:
            self._deaths[slot] = self._deaths.get(slot, 0) + 1
        wait_s = delay_s(self._deaths.get(slot, 0) - 1) if by_itself else 0.0
        self._not_before[slot] = now + wait_s
        return wait_s

    def postpone(self, slot: int, now: float) -> None:
        """Wait: the system has no room for a worker now."""
        self._not_before[slot] = now + FIRST_S
