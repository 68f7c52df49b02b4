"""What the broker tells the loop: facts about entries, as data, in the order they happened."""

from dataclasses import dataclass

from supervisor.streams.endings import Ending
from supervisor.streams.queue import Lease, Passed
from supervisor.streams.wire import Entry


@dataclass(frozen=True)
class Taken:
    """An entry is pending under this slot's consumer, and its lease is being renewed."""

    slot: int
    lease: Lease
    entry: Entry


@dataclass(frozen=True)
class Settled:
    """The slot's entry is ended in Redis. `how` is the script's answer."""

    slot: int
    ending: Ending
    how: str


@dataclass(frozen=True)
class LeaseLost:
    """The slot's entry belongs to somebody else now: stop working on it."""

    slot: int
    lease: Lease


@dataclass(frozen=True)
class EntriesTrimmed:
    """Somebody cut entries off a stream that were pending (trap R7)."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class NothingTaken:
    """The slot asked, was told to stop asking meanwhile, and got nothing."""

    slot: int


@dataclass(frozen=True)
class Buried:
    """The sweep buried a run of another supervisor; `reason` is that of its dead letter."""

    reason: str


@dataclass(frozen=True)
class PluginChanged:
    """A plugin was paused, quarantined, probed or let go on ("running"), by whatever host."""

    plugin: str
    state: str
    was: str


Fact = Taken | Settled | LeaseLost | EntriesTrimmed | NothingTaken | Passed | PluginChanged | Buried
