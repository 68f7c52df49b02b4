"""Where the workers of a pool stand: at work in a slot, ready to follow there, or killed.

A plain set of lists for the pool, which decides who goes where.
"""

from collections.abc import Callable, Iterator

from supervisor.pool.handle import Handle, State


class Roster:
    """Each worker stands in one of three places.

    handles     by slot: who has the slot, and gets its runs
    successors  by slot: ordered ahead, while whoever has the slot does its last run
    leaving     by pid: killed and replaced already, and not reaped yet
    """

    def __init__(self) -> None:
        self.handles: dict[int, Handle] = {}
        self.successors: dict[int, Handle] = {}
        self.leaving: dict[int, Handle] = {}

    def __iter__(self) -> Iterator[Handle]:
        """Go through all that are not leaving."""
        yield from list(self.handles.values())
        yield from list(self.successors.values())

    @property
    def is_empty(self) -> bool:
        """Whether there is no worker any more, not even one that waits to be reaped."""
        return not (self.handles or self.successors or self.leaving)

    @property
    def pids(self) -> set[int | None]:
        """The processes of all; None where one is not known yet."""
        return {handle.pid for handle in self} | self.leaving.keys()

    def of_pid(self, pid: int) -> Handle | None:
        """Return who has this pid and is not leaving."""
        return next((handle for handle in self if handle.pid == pid), None)

    def add(self, handle: Handle, *, is_ahead: bool) -> None:
        """Put a worker that was ordered into its place."""
        place = self.successors if is_ahead else self.handles
        place[handle.slot] = handle

    def open_slots(
        self, wanted: int, goes_soon: Callable[[Handle], bool] | None = None
    ) -> list[int]:
        """Return the slots that nobody has, or whose worker goes soon and nobody follows."""
        return [
            slot
            for slot in range(wanted)
            if (handle := self.handles.get(slot)) is None
            or (goes_soon is not None and slot not in self.successors and goes_soon(handle))
        ]

    def take_over(self, slot: int) -> bool:
        """Give a free slot to its successor; False when it is not free, or none can have it."""
        successor = self.successors.get(slot)
        if slot in self.handles or successor is None or successor.state is State.DOOMED:
            return False
        self.handles[slot] = self.successors.pop(slot)
        return True

    def left_alone(self) -> list[Handle]:
        """Return those that were ordered ahead, whose predecessor is gone, and do not know it."""
        leaving = {handle.slot for handle in self.leaving.values()}
        handles = self.handles.values()
        return [h for h in handles if not h.is_alone and h.slot not in leaving]

    def drop(self, handle: Handle) -> None:
        """Strike off somebody who is gone, or leaves."""
        for place in (self.handles, self.successors):
            if place.get(handle.slot) is handle:
                del place[handle.slot]
