"""How many slots there should be when they follow the backlog. Pure: facts in, a size out.

Up as long as runs wait and there is CPU for them, twice as many at most in one step; down to
the most that were needed in the last minute, which is how the HorizontalPodAutoscaler of
Kubernetes keeps from swinging (its stabilization window). Called by following.py.
"""

from collections import deque
from dataclasses import dataclass

# How often to look. The figures of the backlog are as old as a sweep (2 s).
EVERY_S = 2.0
# What has not been needed for so long is given up.
WINDOW_S = 60.0
# Above this share of our CPUs another crew would only slow the others down.
SATURATED = 0.9


@dataclass(frozen=True)
class Bounds:
    """The fewest and the most slots."""

    fewest: int
    most: int

    def hold(self, size: int) -> bool:
        """Whether a size lies within them."""
        return self.fewest <= size <= self.most

    def nearest(self, size: int) -> int:
        """Return the size within them that is nearest."""
        return min(max(size, self.fewest), self.most)


@dataclass(frozen=True)
class Load:
    """What there is to do. `busy` are slots with a run, `backlog` runs that nobody has taken,
    of all hosts; `cpu` is the share of our CPUs in use; `takes` is whether we take runs now.
    """

    busy: int
    backlog: int
    cpu: float
    takes: bool


class Scaling:
    """Remembers what was needed lately."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._size = -1
        self._since = 0.0
        self._needs: deque[tuple[float, int]] = deque()

    def wanted(self, size: int, load: Load, now: float) -> tuple[int, str]:
        """Return how many slots there should be instead of `size`, and because of what.

        A size out of bounds is somebody's will, and stays.
        """
        if size != self._size:
            # Also when somebody else changed it: a minute is watched anew.
            self._size, self._since = size, now
            self._needs.clear()
        need = load.busy + load.backlog
        self._needs.append((now, need))
        while now - self._needs[0][0] > WINDOW_S:
            self._needs.popleft()
        if not self._bounds.hold(size):
            return size, ""
        if load.busy >= size and need > size:
            return self._more(size, need, load)
        peak = max(seen for _, seen in self._needs)
        if now - self._since >= WINDOW_S and peak < size:
            return self._bounds.nearest(peak), "idle"
        return size, ""

    def _more(self, size: int, need: int, load: Load) -> tuple[int, str]:
        more = self._bounds.nearest(min(need, size * 2))
        if more == size or not load.takes or load.cpu >= SATURATED:
            return size, ""
        return more, "backlog"
