"""What an explanation is made of, and how parts of a sentence are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from supervisor.streams.inspect import HostSeen
from supervisor.streams.keys import NORMAL, PRIORITIES
from supervisor.streams.located import Located
from supervisor.streams.recorded import Attempt, attempts_of
from supervisor.times import clock, told
from worker.policies import Limits, Retry

NOBODY = "no supervisor is alive on this Redis (next: crewpool up, or crewpool run)"
MOST_QUOTED = 300


@dataclass(frozen=True)
class Facts:
    """All that an explanation is made of.

    limits     of the run's plugin; None when the plugin does not stand in our folder
    retries    how often a run may start, by the cause of its end
    letter_id  its newest dead letter, "" without
    has_entry  whether its result stands in the results; None when nobody looked
    """

    run: Located
    hosts: Sequence[HostSeen] = ()
    limits: Limits | None = None
    retries: Mapping[str, Retry] = field(default_factory=dict)
    lease_s: float = 15.0
    results: str = "plugin:results"
    letter_id: str = ""
    has_entry: bool | None = None

    @property
    def now(self) -> float:
        """The time that all lengths are told from."""
        return self.run.now

    @property
    def alive(self) -> list[HostSeen]:
        """The supervisors that beat."""
        return [host for host in self.hosts if host.snapshot is not None]

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts that have ended."""
        return attempts_of(self.run.record)


def ago(facts: Facts, at: float) -> str:
    """Tell a moment that is over."""
    return f"{clock(at)} ({told(facts.now - at)} ago)"


def full(host: HostSeen) -> str:
    """Say why a supervisor begins no run for want of memory, "" while it begins some."""
    told = (host.snapshot or {}).get("memory")
    if not isinstance(told, Mapping) or not told.get("closed"):
        return ""
    return f"{quoted(str(told['closed']))}: {quoted(str(told.get('because')))}"


def runs(count: int) -> str:
    """Tell how many runs there are."""
    return "1 run is" if count == 1 else f"{count} runs are"


def priority(level: int) -> str:
    """Name the priority of a level."""
    return PRIORITIES[level] if 0 <= level < len(PRIORITIES) else PRIORITIES[NORMAL]


def quoted(text: str) -> str:
    """Return a text of others as a part of a sentence."""
    line = " ".join(text.split())
    return line.rstrip(".") if len(line) <= MOST_QUOTED else f"{line[:MOST_QUOTED]}…"


def number(record: Mapping[str, str], key: str) -> float:
    """Return a figure of a record, 0 when it is not there or is none."""
    try:
        value = float(record.get(key) or 0)
    except ValueError:
        return 0.0
    return value if abs(value) < 1e12 else 0.0
