"""How an entry can end, as data. Made by supervisor/verdicts.py, carried out by the broker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.streams.wire import Result

CANCELLED = "cancelled"
GONE = "The request was removed from its stream before it ended, and cannot be started again"


@dataclass(frozen=True)
class DeadLetter:
    """What goes to the dead letters besides the entry's own fields.

    `payload` is free of credentials; `facts` are reason, class, attempt, error, worker, time.
    """

    payload: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Finish:
    """Publish the result and acknowledge. `cause` is "" when the run completed."""

    result: Result
    cause: str = ""

    @property
    def run_id(self) -> str:
        """The run that ends."""
        return self.result.run_id


@dataclass(frozen=True)
class HandBack:
    """Let the run be started again as this attempt, after `delay_s`.

    `cause` is a class of policies.py, or "drained" when we stopped and the run did nothing.
    """

    run_id: str
    attempt: int
    because: str
    cause: str = "drained"
    delay_s: float = 0.0


@dataclass(frozen=True)
class Bury:
    """Write a dead letter and, where a run id can be read, a failed result."""

    letter: DeadLetter
    result: Result | None
    cause: str = "invalid"

    @property
    def run_id(self) -> str:
        """The run that ends; "" where none can be read."""
        return self.result.run_id if self.result else ""


@dataclass(frozen=True)
class Drop:
    """Do nothing in Redis: the entry is somebody else's by now."""

    run_id: str


Ending = Finish | HandBack | Bury | Drop


def cancelled(run_id: str, meta: Mapping[str, Any] | None = None) -> Finish:
    """Return the ending of a run that somebody cancelled."""
    return Finish(Result(run_id, "failed", error=CANCELLED, meta=meta or {}), CANCELLED)


def gone(run_id: str) -> Finish:
    """Return the ending of a run whose entry somebody removed: it cannot be started again."""
    return Finish(Result(run_id, "failed", error=GONE), "lost")


def of_what_is_gone(ending: Ending) -> Ending:
    """Return the ending of an entry that is no longer in its stream: it cannot go back, but
    its run can still be answered.
    """
    if isinstance(ending, HandBack):
        return gone(ending.run_id)
    if isinstance(ending, Bury) and ending.result is not None:
        return Finish(ending.result, ending.cause)
    return ending
