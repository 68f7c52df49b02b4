"""When a run must be over, and in which order an overdue worker is ended. Pure functions.

A deadline is a point on the monotonic clock, a timeout a length. Between the deadline and
the hard kill lies a moment in which faulthandler writes the stacks of all threads.
"""

from dataclasses import dataclass, replace
from enum import Enum

# Long enough for faulthandler to write through the pipe, short against the 50 ms of P2.
STACKS_S = 0.010


class Step(Enum):
    """What an overdue worker is due for."""

    NOTHING = "nothing"
    STACKS = "stacks"
    KILL = "kill"


@dataclass(frozen=True)
class Deadline:
    """The end of a run, and whether its stacks were asked for already."""

    at: float
    timeout_s: float
    stacks_at: float | None = None

    def step(self, now: float) -> Step:
        """Return what is due now."""
        if now < self.at:
            return Step.NOTHING
        if self.stacks_at is None:
            return Step.STACKS
        return Step.KILL if now >= self.stacks_at + STACKS_S else Step.NOTHING

    def with_stacks(self, now: float) -> "Deadline":
        """Return the deadline with the stacks asked for."""
        return replace(self, stacks_at=now)

    def next_alarm(self) -> float:
        """Return when step() answers differently."""
        return self.at if self.stacks_at is None else self.stacks_at + STACKS_S


def timeout_text(timeout_s: float) -> str:
    """Return the error of an overrun, as the wire contract has it.

    >>> timeout_text(2.0)
    'Workflow exceeded 2s timeout'
    """
    length = f"{timeout_s:.3f}".rstrip("0").rstrip(".")
    return f"Workflow exceeded {length}s timeout"
