"""Where a run is at this moment, from the keys that decide, not from its record: locate.lua.

For `crewpool explain`. Anybody may have written what stands in a record.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.streams.inspect import looking
from supervisor.streams.orders import PluginState, entries_of, state_of
from supervisor.streams.queue import Queue
from supervisor.streams.recorded import ENDED

MOST_ENTRIES = 1000
MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Held:
    """In hand: pending under `owner` ("" when it is pending no more), renewed `idle_s` ago."""

    stream: str
    entry_id: str
    owner: str
    since: float
    idle_s: float

    @property
    def host(self) -> str:
        """The supervisor."""
        return self.owner.rpartition(".")[0]

    @property
    def slot(self) -> str:
        """The slot, "sweep" while it is being reclaimed."""
        return self.owner.rpartition(".")[2]


@dataclass(frozen=True)
class Waiting:
    """Delayed, with `due_at`; or parked, behind `before` others of its plugin."""

    level: int
    since: float
    due_at: float | None
    before: int


@dataclass(frozen=True)
class Queued:
    """In a stream, behind about `before` others, or more."""

    stream: str
    entry_id: str
    level: int
    before: int
    is_more: bool

    @property
    def since(self) -> float:
        """When it came there."""
        return int(self.entry_id.partition("-")[0]) / 1000


@dataclass(frozen=True)
class PluginFacts:
    """What stands in the way of a plugin's runs. `holders` are runs in hand: (run, consumer)."""

    name: str = ""
    state: PluginState = field(default_factory=PluginState)
    running: int = 0
    starts: tuple[float, ...] = ()
    holders: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Located:
    """All that Redis knows about where a run is. `now` is the server's clock."""

    run_id: str
    now: float
    has_result: bool = False
    record: Mapping[str, str] = field(default_factory=dict)
    cancelled_at: float | None = None
    held: Held | None = None
    waiting: Waiting | None = None
    queued: Queued | None = None
    plugin: PluginFacts = field(default_factory=PluginFacts)

    @property
    def place(self) -> str:
        """One word: ended, running, delayed, parked, queued, gone or unknown."""
        if self.has_result:
            return "ended"
        if self.held and self.held.owner:
            return "running"
        if self.waiting:
            return "parked" if self.waiting.due_at is None else "delayed"
        if self.queued:
            return "queued"
        if self.record.get("state") in ENDED:
            return "ended"
        return "gone" if self.held or self.record else "unknown"


async def locate(queue: Queue, run_id: str) -> Located:
    """Look where a run is. Raises RedisAway and Refused."""
    words = [queue.keys.group, run_id, queue.limits.ageing_ms, str(queue.limits.max_payload_bytes)]
    words += [str(MOST_ENTRIES), str(MOST_BYTES)]
    async with looking(queue.client, "EVALSHA"):
        facts = json.loads(await queue.call("locate", queue.keys.of_run(run_id), words))
    located = _located(run_id, facts)
    if facts.get("is_cut") and located.place in ("gone", "unknown"):
        async for stream, entry_id in entries_of(queue, run_id):
            level = queue.keys.request_streams.index(stream)
            queued = Queued(stream, entry_id, level, MOST_ENTRIES, is_more=True)
            return _located(run_id, facts, queued)
    return located


def _located(run_id: str, facts: Mapping[str, Any], queued: Queued | None = None) -> Located:
    cancelled_at = facts.get("cancelled_at")
    return Located(
        run_id,
        facts["now"] / 1000,
        bool(facts["has_result"]),
        dict(facts["record"]),
        None if cancelled_at is None else cancelled_at / 1000,
        _held(facts.get("held")),
        _waiting(facts.get("waiting")),
        queued or _queued(facts.get("queued")),
        _plugin(facts.get("plugin") or {}),
    )


def _held(facts: Any) -> Held | None:
    if not facts:
        return None
    since, idle_s = facts["at_ms"] / 1000, facts["idle_ms"] / 1000
    return Held(facts["stream"], facts["id"], facts["owner"], since, idle_s)


def _waiting(facts: Any) -> Waiting | None:
    if not facts:
        return None
    due, before = facts.get("due"), int(facts.get("before", 0))
    due_at = None if due is None else due / 1000
    return Waiting(int(facts["level"]), facts["since_ms"] / 1000, due_at, before)


def _queued(facts: Any) -> Queued | None:
    if not facts:
        return None
    return Queued(
        facts["stream"], facts["id"], int(facts["level"]), int(facts["before"]), facts["is_more"]
    )


def _plugin(facts: Mapping[str, Any]) -> PluginFacts:
    return PluginFacts(
        facts.get("name", ""),
        state_of(facts.get("state") or {}),
        int(facts.get("running", 0)),
        tuple(at / 1000 for at in facts.get("starts") or ()),
        tuple((one["run"], one["consumer"]) for one in facts.get("holders") or ()),
    )
