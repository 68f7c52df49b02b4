"""How long to wait before starting again, and when starting again cannot help.

Pure: counts of failures in a row and times in, times out. Used by the pool for its slots and
by the spawner for the zygote.
"""

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


def is_hopeless(failures: int) -> bool:
    """Tell whether to give up: it failed so often, and never once worked in between."""
    return failures >= GIVE_UP_AFTER


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

    @property
    def failed_boots(self) -> int:
        """Failures in a row of the slot that has most, since any worker last booted.

        Not those of all slots together: what fails once fails in all of them at once.
        """
        return max(self._failed_boots.values(), default=0)

    def not_before(self, slot: int) -> float:
        """Return when the slot may have a worker; 0 when it may at any time."""
        return self._not_before.get(slot, 0.0)

    def note_boot(self) -> None:
        """Forget failed boots: some worker booted, so starting is not hopeless."""
        self._failed_boots.clear()

    def note_failed_boot(self, slot: int, now: float) -> None:
        """Count a worker that died before it was ready."""
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
