"""When a run must be over, and in which order an overdue worker is ended. Pure functions.

A deadline is a point on the monotonic clock, a timeout a length. Between the deadline and
the hard kill lies a moment in which faulthandler writes the stacks of all threads, and then,
for plugins that ask for it, the grace after SIGTERM.
"""

from dataclasses import dataclass, replace
from enum import Enum

# Stacks mostly come within 3 ms; so long we wait for them, short against the 50 ms of P2.
STACKS_S = 0.025
# And at least so long, to see whether CPU time passes: the kernel counts it in ticks.
WATCH_S = 0.010
# Between two looks whether the stacks have come.
LOOK_S = 0.002
TIMEOUT = "timeout"


class Step(Enum):
    """What an overdue worker is due for."""

    NOTHING = "nothing"
    STACKS = "stacks"
    WARN = "warn"
    KILL = "kill"


@dataclass(frozen=True)
class Deadline:
    """The end of a run, why it is one, and how far we are in ending it.

    `at` is a point on the monotonic clock, as all that end in `_at`. `grace_s` lies between
    SIGTERM and the kill; 0 is no SIGTERM.
    """

    at: float
    timeout_s: float
    grace_s: float = 0.0
    because: str = TIMEOUT
    asked_at: float | None = None
    looked_at: float = 0.0
    warned_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has passed and the worker is being ended."""
        return self.asked_at is not None

    @property
    def is_final(self) -> bool:
        """Whether it is too late for an outcome: SIGTERM told the crew that its time was over.

        What ends while the stacks are written was on its way. What ends within the grace
        ended because of it; the grace is for tidying up and makes no timeout longer.
        """
        return self.warned_at is not None

    def step(self, now: float, *, has_told: bool) -> Step:
        """Return what is due now; `has_told`: the stacks have come."""
        if now < self.at:
            return Step.NOTHING
        if self.asked_at is None:
            return Step.STACKS
        if self.warned_at is not None:
            return Step.KILL if now >= self.warned_at + self.grace_s else Step.NOTHING
        if now < self.asked_at + (WATCH_S if has_told else STACKS_S):
            return Step.NOTHING
        return Step.WARN if self.grace_s else Step.KILL

    def asked(self, now: float) -> "Deadline":
        """Return the deadline with the stacks asked for."""
        return replace(self, asked_at=now, looked_at=now)

    def looked(self, now: float) -> "Deadline":
        """Return it after one more look whether the stacks have come."""
        return replace(self, looked_at=now)

    def warned(self, now: float) -> "Deadline":
        """Return it with SIGTERM sent."""
        return replace(self, warned_at=now)

    def brought_forward(self, now: float, because: str) -> "Deadline":
        """Return it as over now, for another reason and without a grace.

        One that has passed keeps its reason.
        """
        if self.is_over:
            return replace(self, grace_s=0.0)
        return replace(self, at=min(self.at, now), grace_s=0.0, because=because)

    def next_alarm(self) -> float:
        """Return when step() may answer differently."""
        if self.asked_at is None:
            return self.at
        if self.warned_at is not None:
            return self.warned_at + self.grace_s
        return self.looked_at + LOOK_S


def timeout_text(timeout_s: float) -> str:
    """Return the error of an overrun, as the wire contract has it.

    >>> timeout_text(2.0)
    'Workflow exceeded 2s timeout'
    """
    length = f"{timeout_s:.3f}".rstrip("0").rstrip(".")
    return f"Workflow exceeded {length}s timeout"
