"""What the supervisor does in Redis, a method each: take, finish, hand back, bury, renew,
reclaim, forget.

Called by the broker's tasks only. Every method is safe to repeat after RedisAway, which
says that nobody knows whether the command took effect. Decisions are made elsewhere.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from supervisor.streams.connection import BLOCK_S, answering, connect
from supervisor.streams.endings import DeadLetter
from supervisor.streams.keys import Keys
from supervisor.streams.script_loader import call
from supervisor.streams.wire import SCHEMA_VERSION, Entry, Result

EXCERPT_BYTES = 4096
PAGE = 50
# Older than this, a reclaim was written to a server that did not answer then.
RECLAIM_WITHIN_S = 2
# A consumer that read nothing for this many leases belongs to a host that is gone.
STALE_LEASES = 20


@dataclass(frozen=True)
class Lease:
    """The right to end one entry: valid while it is pending under this consumer.

    `is_fenced` is False when the entry was cut off its stream while the crew ran: nobody
    can own it any more, and only the done marker guards the result.
    """

    stream: str
    id: str
    consumer: str
    is_fenced: bool = True


@dataclass(frozen=True)
class Nothing:
    """No entry is waiting; `after` are the ids that the next doorbell listens behind."""

    after: tuple[str, ...]


@dataclass(frozen=True)
class Trimmed:
    """An entry that was pending and that somebody else cut off its stream (trap R7)."""

    stream: str
    id: str


@dataclass(frozen=True)
class Limits:
    """The lengths of life and the caps that scripts are called with."""

    max_payload_bytes: int
    record_ttl_s: int
    done_ttl_s: int


@dataclass
class Page:
    """One answer of a sweep: where to go on, what lapsed, what is lost."""

    cursors: list[str]
    entries: list[Entry] = field(default_factory=list)
    trimmed: list[Trimmed] = field(default_factory=list)


class Queue:
    """The request streams, results and dead letters of one deployment."""

    def __init__(self, url: str, keys: Keys, limits: Limits) -> None:
        self.keys = keys
        self._limits = limits
        self._client = connect(url)
        self._doorbell = connect(url, blocks_s=BLOCK_S, name="crewpool-doorbell")

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
        pairs = [(stream, self.keys.group) for stream in self.keys.request_streams]
        for stream, group in [*pairs, (self.keys.results, self.keys.results_group)]:
            async with answering(self._client):
                try:
                    await self._client.xgroup_create(stream, group, id="0", mkstream=True)
                except ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    async def take(self, consumer: str) -> Entry | Nothing | Trimmed:
        """Take the next entry for this consumer, or the one it holds already."""
        cap = str(self._limits.max_payload_bytes)
        words = [self.keys.group, consumer, cap, str(EXCERPT_BYTES)]
        answer = await self._call("take", self.keys.request_streams, words)
        if answer[0] == "none":
            return Nothing(tuple(answer[1]))
        if answer[0] == "trimmed":
            return Trimmed(answer[1], answer[2])
        return _entry(answer[1])

    async def wait_for_entry(self, after: Sequence[str]) -> bool:
        """Sleep on a blocked connection until an entry is added behind these ids.

        Reads without the group, so that nothing is delivered to a reader that may be
        stopped or cut off (trap R15). False when nothing came for a while.
        """
        streams: dict[Any, Any] = dict(zip(self.keys.request_streams, after, strict=True))
        block_ms = int(BLOCK_S * 1000)
        async with answering(self._doorbell):
            return bool(await self._doorbell.xread(streams, count=1, block=block_ms))

    async def finish(self, lease: Lease, result: Result, record: Mapping[str, str]) -> str:
        """Publish a result and acknowledge. Returns finished, duplicate or lost."""
        run_id = result.run_id
        keys = [lease.stream, self.keys.results, self.keys.done(run_id), self.keys.record(run_id)]
        words = [*self._owner(lease), "1" if lease.is_fenced else "0"]
        words += [result.payload(), str(int(time.time())), SCHEMA_VERSION]
        words += [str(self._limits.done_ttl_s), str(self._limits.record_ttl_s), *_flat(record)]
        return str(await self._call("finish", keys, words))

    async def hand_back(
        self, lease: Lease, run_id: str, attempt: int, record: Mapping[str, str]
    ) -> str:
        """Put a run back on its stream. Returns handed_back, duplicate, trimmed or lost."""
        keys = [lease.stream, self.keys.done(run_id), self.keys.record(run_id)]
        words = [*self._owner(lease), str(attempt), str(self._limits.record_ttl_s)]
        return str(await self._call("hand_back", keys, [*words, *_flat(record)]))

    async def bury(
        self, lease: Lease, letter: DeadLetter, result: Result | None, record: Mapping[str, str]
    ) -> str:
        """Write a dead letter and a failed result. Returns buried, duplicate or lost.

        `result` is None where no run id can be read: nobody can be told.
        """
        run_id = result.run_id if result else ""
        keys = [lease.stream, self.keys.dead_letters, self.keys.results]
        keys += [self.keys.done(run_id), self.keys.record(run_id)]
        facts = _flat(letter.facts)
        words = [*self._owner(lease), letter.payload, result.payload() if result else ""]
        words += [str(int(time.time())), SCHEMA_VERSION]
        words += [str(self._limits.done_ttl_s), str(self._limits.record_ttl_s)]
        return str(
            await self._call("bury", keys, [*words, str(len(facts)), *facts, *_flat(record)])
        )

    async def renew(self, leases: Sequence[Lease]) -> list[str]:
        """Renew leases in one call; returns renewed, lost or trimmed for each."""
        if not leases:
            return []
        numbers = {stream: str(i) for i, stream in enumerate(self.keys.request_streams, start=1)}
        words = [self.keys.group]
        for lease in leases:
            words += [numbers[lease.stream], lease.id, lease.consumer]
        return list(await self._call("renew", self.keys.request_streams, words))

    async def reclaim(self, sweeper: str, lease_s: float, cursors: Sequence[str]) -> Page:
        """Claim one page of lapsed entries a stream; start with cursors of "0-0"."""
        words = [self.keys.group, sweeper, str(int(lease_s * 1000)), str(PAGE)]
        words += [str(self._limits.max_payload_bytes), str(EXCERPT_BYTES)]
        async with answering(self._client):
            seconds, micros = await self._client.time()
        not_after_ms = (seconds + RECLAIM_WITHIN_S) * 1000 + micros // 1000
        words += [str(not_after_ms), *cursors]
        answer = await self._call("reclaim", self.keys.request_streams, words)
        entries = [_entry(found, owner) for found, owner in answer[1]]
        return Page(answer[0], entries, [Trimmed(*facts) for facts in answer[2]])

    async def forget(self, names: Iterable[str] = (), idle_s: float = 0.0) -> int:
        """Delete consumers without pending entries: those named, or all that are idle so long."""
        words = [self.keys.group, str(int(idle_s * 1000)), *names]
        return int(await self._call("forget", self.keys.request_streams, words))

    def _owner(self, lease: Lease) -> list[str]:
        return [self.keys.group, lease.consumer, lease.id]

    async def _call(self, script: str, keys: Sequence[str], words: Sequence[str]) -> Any:
        """Call a script; a group that is gone (trap R13) is made again, once."""
        encoded: list[str | bytes] = [word.encode("utf-8", "surrogateescape") for word in words]
        async with answering(self._client):
            try:
                return await call(self._client, script, list(keys), encoded)
            except ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error).lower():
                    raise
        await self.ensure_groups()
        async with answering(self._client):
            return await call(self._client, script, list(keys), encoded)


def _entry(answer: Sequence[Any], owner: str = "") -> Entry:
    stream, entry_id, payload_bytes, is_whole, flat = answer
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Entry(stream, entry_id, fields, payload_bytes, bool(is_whole), owner)


def _flat(facts: Mapping[str, str]) -> list[str]:
    return [word for pair in facts.items() for word in pair]
