"""The names of everything in Redis, as functions and fields, never as scattered strings."""

import re
from dataclasses import dataclass

from supervisor.settings import Settings

PRIORITIES = ("critical", "high", "normal", "low")
"""Most urgent first; the place in here is the level that scripts count with."""
USUAL = "plugin:requests"
NORMAL = PRIORITIES.index("normal")
_TAG = re.compile(r"\{[^{}]+\}")
_ENDS_WITH_NORMAL = re.compile(r":normal$")


@dataclass(frozen=True)
class Keys:
    """The names that one deployment uses.

    `messages` and `heartbeats` are "" where they follow from the others.
    """

    requests: str
    results: str
    dead_letters: str
    group: str
    results_group: str
    messages: str = ""
    heartbeats: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Keys":
        """Return the names that the settings ask for."""
        return cls(
            settings.requests_stream,
            settings.results_stream,
            settings.dead_letters_stream,
            settings.requests_group,
            settings.results_group,
            settings.messages_stream,
            settings.heartbeats_key,
        )

    @property
    def request_streams(self) -> tuple[str, ...]:
        """The streams of requests, most urgent first; the plain name is priority normal.

        A name that ends with `:normal` is one of four alike: `cortex:tasks:normal`.
        """
        base = _ENDS_WITH_NORMAL.sub("", self.requests)
        streams = [f"{base}:{priority}" for priority in PRIORITIES]
        streams[NORMAL] = self.requests
        return tuple(streams)

    @property
    def streams(self) -> tuple[str, ...]:
        """All streams that runs are taken from: those of requests, and the resumed ones."""
        return (*self.request_streams, self.resumed)

    @property
    def world(self) -> tuple[str, ...]:
        """The keys that every script gets, in the order of scripts/_world.lua."""
        return (
            *self.streams,
            self.bell,
            self.holding,
            self.running,
            self.starts,
            self.delayed,
            self.parked,
            self.parked_plugins,
            self.waiting,
            self.cancelled,
            self.plugins,
            self.queued,
            self.runs,
            self.results,
            self.messages_to_all,
            self.heads,
        )

    @property
    def dead_results(self) -> str:
        """The stream of entries among the results that are none."""
        return f"{self.results}:dlq"

    @property
    def resumed(self) -> str:
        """The stream through which parked runs go on. Whatever is added is read in one step."""
        return f"{self.prefix}:resumed"

    @property
    def bell(self) -> str:
        """The stream that wakes idle supervisors when something else than an entry is new."""
        return f"{self.prefix}:bell"

    @property
    def holding(self) -> str:
        """The hash of runs in hand: run id → where it is pending, and its plugin."""
        return f"{self.prefix}:holding"

    @property
    def running(self) -> str:
        """The hash of how many runs of each plugin are in hand."""
        return f"{self.prefix}:running"

    @property
    def starts(self) -> str:
        """The hash of the latest starts of each plugin that has a rate."""
        return f"{self.prefix}:starts"

    @property
    def heads(self) -> str:
        """The hash of the next entry's id of each request stream, and what came before it."""
        return f"{self.prefix}:heads"

    @property
    def delayed(self) -> str:
        """The sorted set of runs that wait for a time (ms)."""
        return f"{self.prefix}:delayed"

    @property
    def parked(self) -> str:
        """The sorted set of runs that wait for room, in their order for each plugin."""
        return f"{self.prefix}:parked"

    @property
    def parked_plugins(self) -> str:
        """The hash of how many runs of each plugin are parked."""
        return f"{self.prefix}:parked:plugins"

    @property
    def waiting(self) -> str:
        """The hash of what delayed and parked runs consist of: run id → packed fields."""
        return f"{self.prefix}:waiting"

    @property
    def cancelled(self) -> str:
        """The sorted set of runs that must not go on, by the time (ms) of the cancel."""
        return f"{self.prefix}:cancelled"

    @property
    def plugins(self) -> str:
        """The hash of plugins that are paused or in quarantine, or crashed lately."""
        return f"{self.prefix}:plugins"

    @property
    def queued(self) -> str:
        """The sorted set of runs that we published and nobody has taken, by stream and time."""
        return f"{self.prefix}:queued"

    @property
    def runs(self) -> str:
        """The sorted set of all runs that have a record, by the time of their last change (s)."""
        return f"{self.prefix}:runs"

    @property
    def prefix(self) -> str:
        """What our own names begin with; with names of streams that are not the usual ones,
        these are in it: two deployments on one Redis share nothing.
        """
        base = _ENDS_WITH_NORMAL.sub("", self.requests)
        if base == USUAL:
            return "crewpool"
        # Scripts touch streams and these keys together: on a cluster they share a tag.
        tag = _TAG.match(base)
        is_usual = tag is not None and base == f"{tag[0]}:requests"
        return f"{tag[0]}:crewpool" if tag and is_usual else f"crewpool:{base}"

    def done(self, run_id: str) -> str:
        """Name the marker that a run has its result (trap R19)."""
        return f"{self.prefix}:done:{run_id}"

    def record(self, run_id: str) -> str:
        """Name the hash that says where a run is."""
        return f"{self.prefix}:run:{run_id}"

    def unique(self, digest: str) -> str:
        """Name the key that holds the one run of this plugin, user and settings."""
        return f"{self.prefix}:unique:{digest}"

    def of_run(self, run_id: str, unique: str = "") -> tuple[str, str, str]:
        """Return the keys of one run: done marker, record, unique key."""
        return self.done(run_id), self.record(run_id), self.unique(unique)

    def host(self, host: str) -> str:
        """Name the heartbeat of one supervisor: JSON with a time to live."""
        return f"{self.heartbeats}:{host}" if self.heartbeats else f"{self.prefix}:host:{host}"

    @property
    def hosts(self) -> str:
        """The sorted set of supervisors by the time of their last heartbeat."""
        return self.heartbeats or f"{self.prefix}:hosts"

    def messages_to(self, host: str) -> str:
        """Name the control stream of one supervisor."""
        return f"{self.messages or f'{self.prefix}:messages'}:{host}"

    @property
    def messages_to_all(self) -> str:
        """The control stream that every supervisor listens to."""
        return self.messages_to("all")


def consumer_of(host: str, boot: str, slot: int | str) -> str:
    """Name a slot's consumer in the group: `<host>-<boot>.s<slot>`."""
    return f"{host}-{boot}.s{slot}" if isinstance(slot, int) else f"{host}-{boot}.{slot}"
