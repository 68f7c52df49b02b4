"""What the supervisor does in Redis with one run at a time: take, finish, hand back, bury,
renew. What it does with those of others stands in sweeps.py.

Called by the broker's tasks only. Every method is safe to repeat after RedisAway, which
says that nobody knows whether the command took effect. Decisions are made elsewhere.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from supervisor.streams.connection import BLOCK_S, answering, connect
from supervisor.streams.endings import Bury, Finish, HandBack
from supervisor.streams.keys import NORMAL, Keys
from supervisor.streams.script_loader import call, decoded
from supervisor.streams.wire import SCHEMA_VERSION, Entry, Result

EXCERPT_BYTES = 4096
NO_LIMITS = "{}"
_LEVEL = re.compile(r"[0-3]")


@dataclass(frozen=True)
class Lease:
    """The right to end one entry: valid while it is pending under this consumer.

    `is_fenced` is False when the entry was cut off its stream while the crew ran: nobody
    can own it any more, and only the done marker guards the result. `level` is that of the
    run's priority, `unique` the digest that it alone may have.
    """

    stream: str
    id: str
    consumer: str
    is_fenced: bool = True
    level: int = NORMAL
    unique: str = ""

    @classmethod
    def of(cls, entry: Entry, consumer: str) -> "Lease":
        """Return the lease of an entry that is pending under this consumer."""
        return cls(entry.stream, entry.id, consumer, level=entry.level, unique=entry.unique)


@dataclass(frozen=True)
class Passed:
    """What take.lua did with a run on its way to another one.

    `kind` is parked, resumed, due, probing, cancelled, duplicate or lost; `detail` says how
    many entries were lost, where the others have nothing to say.
    """

    kind: str
    run_id: str
    plugin: str
    detail: str


@dataclass(frozen=True)
class Nothing:
    """No run may start now. `after` are the ids that the next doorbell listens behind;
    `wake_s` is when something may be there without an entry, None when nothing will.
    """

    after: tuple[str, ...]
    wake_s: float | None = None


@dataclass(frozen=True)
class More:
    """Nothing was taken yet, and there is more to look at: ask again."""


@dataclass(frozen=True)
class Trimmed:
    """An entry that was pending and that somebody else cut off its stream (trap R7).

    `run_id` is "" where nobody knows it; then it was let go of. Else it waits for its result.
    """

    stream: str
    id: str
    run_id: str = ""


@dataclass(frozen=True)
class Answer:
    """What a take came to, and what was passed on the way."""

    got: Entry | Nothing | Trimmed | More
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True)
class Limits:
    """The lengths and the bounds that scripts are called with."""

    max_payload_bytes: int
    record_ttl_s: int
    done_ttl_s: int
    ageing_s: float = 300.0
    quarantine_crashes: int = 5
    quarantine_window_s: float = 300.0
    quarantine_cooldown_s: float = 60.0
    max_waiting: int = 100_000
    retention_s: float = 3600.0
    dead_letters_max: int = 10_000
    dead_letters_ttl_s: float = 2_592_000.0

    @property
    def quarantine(self) -> list[str]:
        """The three words that scripts judge crashes by."""
        lengths = (self.quarantine_window_s, self.quarantine_cooldown_s)
        return [str(self.quarantine_crashes), *(ms(length_s) for length_s in lengths)]

    @property
    def ageing_ms(self) -> str:
        """What each priority below critical is worth; without ageing more than any wait."""
        return ms(self.ageing_s) if self.ageing_s else str(10**13)


class Queue:
    """The request streams, results and dead letters of one deployment."""

    def __init__(self, url: str, keys: Keys, limits: Limits) -> None:
        self.keys = keys
        self.limits = limits
        self._client = connect(url, key=keys.requests)
        self._doorbell = connect(url, blocks_s=BLOCK_S, name="crewpool-doorbell", key=keys.requests)

    @property
    def client(self) -> Redis:
        """The connection for single commands, for the other rooms of this package."""
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        await self._doorbell.aclose()

    async def disconnect(self) -> None:
        """Drop the connections that nobody is using; the next commands make new ones."""
        for client in (self._client, self._doorbell):
            await client.connection_pool.disconnect(inuse_connections=False)

    async def ping_doorbell(self) -> None:
        """Connect the doorbell: a server that has room for one of us only is not there."""
        async with answering(self._doorbell):
            await self._doorbell.time()

    async def ensure_groups(self) -> None:
        """Create streams and groups that are missing, from the first entry on."""
        pairs = [(stream, self.keys.group) for stream in self.keys.streams]
        for stream, group in [*pairs, (self.keys.results, self.keys.results_group)]:
            async with answering(self._client):
                try:
                    before = await self._cut_off_before(stream)
                    await self._client.xgroup_create(
                        stream, group, id="0", mkstream=True, entries_read=before
                    )
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    async def _cut_off_before(self, stream: str) -> int:
        """Return what was cut off before its group was there: no loss of its own.

        It is told with the creation: a group that exists may deliver at any moment.
        """
        try:
            facts = decoded(await self._client.xinfo_stream(stream))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return 0
        return int(facts["entries-added"]) - int(facts["length"])

    async def take(self, consumer: str, plugin_limits: str = NO_LIMITS) -> Answer:
        """Take the next run for this consumer, or the one it holds already.

        `plugin_limits` is the JSON text of limits.py.
        """
        words = [self.keys.group, consumer, str(self.limits.max_payload_bytes)]
        words += [str(EXCERPT_BYTES), self.limits.ageing_ms, plugin_limits]
        words += [self.keys.done(""), self.keys.record(""), str(self.limits.record_ttl_s)]
        what, detail, wake_ms, events = await self.call("take", (), words)
        passed = tuple(Passed(*event) for event in events)
        if what == "none":
            wake_s = wake_ms / 1000 if wake_ms >= 0 else None
            return Answer(Nothing(tuple(detail), wake_s), passed)
        if what == "trimmed":
            return Answer(Trimmed(*detail), passed)
        return Answer(More() if what == "more" else self.entry(detail), passed)

    async def wait_for_entry(self, after: Sequence[str], most_s: float = BLOCK_S) -> bool:
        """Sleep on a blocked connection until an entry is added behind these ids, or the
        bell rings.

        Reads without the group, so that nothing is delivered to a reader that may be
        stopped or cut off (trap R15). False when nothing came for a while.
        """
        names = (*self.keys.request_streams, self.keys.bell)
        streams: dict[Any, Any] = dict(zip(names, after, strict=True))
        block_ms = max(1, int(min(most_s, BLOCK_S) * 1000))
        async with answering(self._doorbell):
            return bool(await self._doorbell.xread(streams, count=1, block=block_ms))

    async def finish(self, lease: Lease, ending: Finish, record: Mapping[str, str]) -> str:
        """Publish a result and acknowledge. Returns finished, duplicate or lost."""
        run_id = ending.run_id
        words = [*self._owner(lease), "1" if lease.is_fenced else "0", run_id, ending.cause]
        words += [*self.limits.quarantine, *self._said(ending.result), *_flat(record)]
        return str(await self.call("finish", self.keys.of_run(run_id, lease.unique), words))

    async def hand_back(self, lease: Lease, ending: HandBack, record: Mapping[str, str]) -> str:
        """Let a run be started again, now or after its delay.

        Returns handed_back, duplicate, cancelled, trimmed or lost.
        """
        words = [*self._owner(lease), ending.run_id, ending.cause, *self.limits.quarantine]
        words += [str(ending.attempt), ms(ending.delay_s), str(lease.level)]
        words += [str(self.limits.record_ttl_s + int(ending.delay_s)), *_flat(record)]
        return str(await self.call("hand_back", self.keys.of_run(ending.run_id), words))

    async def bury(self, lease: Lease, ending: Bury, record: Mapping[str, str]) -> str:
        """Write a dead letter and a failed result. Returns buried, duplicate or lost.

        Without a result in the ending no run id can be read: nobody can be told.
        """
        letter = _flat({"payload": ending.letter.payload, **ending.letter.facts})
        words = [*self._owner(lease), "1", ending.run_id, ending.cause, *self.limits.quarantine]
        words += [*self._said(ending.result), str(self.limits.dead_letters_max)]
        words += [str(len(letter)), *letter, *_flat(record)]
        keys = [*self.keys.of_run(ending.run_id, lease.unique), self.keys.dead_letters]
        return str(await self.call("bury", keys, words))

    async def renew(self, leases: Sequence[Lease]) -> list[str]:
        """Renew leases in one call; returns renewed, lost or trimmed for each."""
        if not leases:
            return []
        words = [self.keys.group]
        for lease in leases:
            words += [lease.stream, lease.id, lease.consumer]
        return list(await self.call("renew", (), words))

    async def call(self, script: str, keys: Sequence[str], words: Sequence[str]) -> Any:
        """Call a script with the world and these keys; a group that is gone (trap R13) is
        made again, once.
        """
        all_keys = [*self.keys.world, *keys]
        encoded: list[str | bytes] = [word.encode("utf-8", "surrogateescape") for word in words]
        async with answering(self._client):
            try:
                return await call(self._client, script, all_keys, encoded)
            except ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error).lower():
                    raise
        await self.ensure_groups()
        async with answering(self._client):
            return await call(self._client, script, all_keys, encoded)

    def entry(self, answer: Sequence[Any], owner: str = "") -> Entry:
        """Return an entry as _entries.lua describes it."""
        stream, entry_id, payload_bytes, is_whole, flat = answer
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        told = fields.get("crewpool_level", "")
        if stream == self.keys.resumed:
            level = int(match[0]) if (match := _LEVEL.fullmatch(told)) else NORMAL
        else:
            level = self.keys.request_streams.index(stream)
        return Entry(stream, entry_id, fields, payload_bytes, bool(is_whole), owner, level)

    def _owner(self, lease: Lease) -> list[str]:
        return [self.keys.group, lease.consumer, lease.stream, lease.id]

    def _said(self, result: Result | None) -> list[str]:
        words = [result.payload() if result else "", str(int(time.time())), SCHEMA_VERSION]
        return [*words, str(self.limits.done_ttl_s), str(self.limits.record_ttl_s)]


def ms(length_s: float) -> str:
    """Return a length as scripts count it: in whole milliseconds."""
    return str(int(length_s * 1000))


def _flat(facts: Mapping[str, str]) -> list[str]:
    return [word for pair in facts.items() for word in pair]
