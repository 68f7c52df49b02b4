"""The runs that somebody cancelled lately, in case they come into hand here.

A cancel is told to all supervisors at once, and may come before the loop has heard that the
run was taken here. So the last ones are kept, and the loop looks in each of its passes.
"""

from collections import OrderedDict
from collections.abc import Mapping

from supervisor.inhand import InHand, Stage
from supervisor.streams.messages import milliseconds_of

MOST_KEPT = 1000


class Cancels:
    """Which runs must not go on: for each since when, and the entry it had in hand then."""

    def __init__(self) -> None:
        self._noted: OrderedDict[str, tuple[int, str]] = OrderedDict()

    def note(self, run_id: str, at_ms: int, entry_id: str = "") -> None:
        """Remember a cancel; `at_ms` is Redis' clock when it was told."""
        self._noted[run_id] = (at_ms, entry_id)
        self._noted.move_to_end(run_id)
        if len(self._noted) > MOST_KEPT:
            self._noted.popitem(last=False)

    def among(self, in_hand: Mapping[int, InHand]) -> list[str]:
        """Return the runs that are cancelled, and in hand, and not being ended yet."""
        if not self._noted:
            return []
        return [
            held.run_id
            for held in in_hand.values()
            if held.stage is not Stage.SETTLING and self._covers(held)
        ]

    def _covers(self, held: InHand) -> bool:
        at_ms, entry_id = self._noted.get(held.run_id, (-1, ""))
        # A run that was asked for again after its cancel has a newer entry, and is not meant.
        return held.entry.id == entry_id or milliseconds_of(held.entry.id) <= at_ms
