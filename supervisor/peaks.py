"""What runs of each plugin need of memory, learned from those that have ended.

Pure, and forgotten with the supervisor: code changes, and what is learned anew in a minute
needs no store.
"""

from collections import deque
from math import ceil

# The newest count: a plugin's needs change with its inputs and its code.
KEPT = 50
# What nobody has seen yet is taken for as much as that, unless its limits say other.
UNKNOWN_BYTES = 256 * 2**20


class Peaks:
    """The newest peaks of each plugin, in bytes, without what all workers share."""

    def __init__(self) -> None:
        self._peaks: dict[str, deque[int]] = {}
        self._needs: dict[str, int] = {}

    def learn(self, plugin: str, peak_bytes: int) -> None:
        """Take in the peak of a run that ended."""
        peaks = self._peaks.setdefault(plugin, deque(maxlen=KEPT))
        peaks.append(max(0, peak_bytes))
        # The 95th percentile by nearest rank; now, because it is asked for far more often.
        self._needs[plugin] = sorted(peaks)[ceil(0.95 * len(peaks)) - 1]

    def expected(self, plugin: str, soft_bytes: int = 0, hard_bytes: int = 0) -> int:
        """Return what a run of this plugin needs: the 95th percentile of what they had.

        The limits are what it may have beyond a fresh worker, 0 for none: they stand in for
        what is not known, and nothing needs more than it may have.
        """
        need = self._needs.get(plugin, soft_bytes or UNKNOWN_BYTES)
        return min(need, hard_bytes) if hard_bytes else need
