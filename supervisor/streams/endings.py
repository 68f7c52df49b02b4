"""How an entry can end, as data. Made by supervisor/verdicts.py, carried out by the broker."""

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.streams.wire import Result


@dataclass(frozen=True)
class DeadLetter:
    """What goes to the dead letters besides the entry's own fields.

    `payload` is free of credentials; `facts` are reason, class, attempt, error, worker, time.
    """

    payload: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Finish:
    """Publish the result and acknowledge."""

    result: Result

    @property
    def run_id(self) -> str:
        """The run that ends."""
        return self.result.run_id


@dataclass(frozen=True)
class HandBack:
    """Put the run back on its stream, to be started as this attempt."""

    run_id: str
    attempt: int
    because: str


@dataclass(frozen=True)
class Bury:
    """Write a dead letter and, where a run id can be read, a failed result."""

    letter: DeadLetter
    result: Result | None

    @property
    def run_id(self) -> str:
        """The run that ends; "" where none can be read."""
        return self.result.run_id if self.result else ""


@dataclass(frozen=True)
class Drop:
    """Do nothing in Redis: the entry is somebody else's by now."""

    run_id: str


Ending = Finish | HandBack | Bury | Drop
