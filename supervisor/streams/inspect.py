"""Looks at what stands in Redis without changing it: for commands, never for the loop.

Supervisors by their heartbeats, the record of a run, results without taking them from the
application's group, and backlogs.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)

from supervisor.streams.connection import answering, connect
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded
from supervisor.streams.server import ServerFacts, facts_of
from worker.errors import CrewpoolError

FIRST = "0-0"
PAGE = 20
# Of results as they come: each may have megabytes.
MOST_AT_ONCE = 4
# As many results are read at once as have this size: most have kilobytes, some megabytes.
PAGE_BYTES = 2_097_152
# Where it stands in JSON as it is, so that a text without it need not be parsed.
_PLAIN_ID = re.compile(r"[A-Za-z0-9._:@~-]+")
# How far back a result is looked for before it counts as gone.
MOST_LOOKED_AT = 5000
# A supervisor's clock and the server's differ, and a result may wait for the server.
AROUND_S = 5.0
LAST_TIME_S = 1e11
_PASSING = ("OOM ", "MISCONF ", "BUSY ")


class Refused(CrewpoolError):  # noqa: N818  # named for what happened
    """Redis is there and says no: a permission, a password, its memory.

    `is_passing` where it says no to everybody for now: it is out of memory, cannot write to its
    disk, or is busy with a script.
    """

    def __init__(self, what: str, error: RedisError) -> None:
        self.what = what
        self.is_permission = isinstance(error, NoPermissionError)
        self.is_passing = isinstance(error, OutOfMemoryError) or str(error).startswith(_PASSING)
        super().__init__(f"Redis refused {what}: {str(error)[:300]}")


@dataclass(frozen=True)
class HostSeen:
    """A supervisor as its heartbeats tell. `snapshot` is None when they have stopped."""

    host: str
    beat_at: float
    snapshot: dict[str, Any] | None


@dataclass(frozen=True)
class StreamSeen:
    """A stream and the group that we care about; `pending` is None without that group."""

    stream: str
    group: str
    exists: bool
    length: int = 0
    pending: int | None = None


class Results:
    """Reads the results as they come, beside the group and not as a part of it.

    It has a connection of its own, because it blocks (trap R2).
    """

    def __init__(self, url: str, stream: str, block_s: float) -> None:
        self._stream = stream
        self._block_ms = max(1, int(block_s * 1000))
        self._client = connect(url, blocks_s=block_s, name="crewpool-results", key=stream)
        self._after = FIRST

    async def start_here(self) -> None:
        """Leave out all that stands in the stream by now."""
        async with looking(self._client, f"XINFO STREAM {self._stream}"):
            try:
                facts = decoded(await self._client.xinfo_stream(self._stream))
            except ResponseError as error:
                if "no such key" not in str(error):
                    raise
                return
        self._after = facts["last-generated-id"]

    async def next(self) -> list[dict[str, Any]]:
        """Return what came since the last call; waits a moment when nothing did."""
        async with looking(self._client, f"XREAD {self._stream}"):
            answer = await self._client.xread(
                {self._stream: self._after}, count=MOST_AT_ONCE, block=self._block_ms
            )
        entries = _entries_in(answer)
        if entries:
            self._after = entries[-1][0]
        return _payloads(entries)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def is_url(url: str, key: str = "") -> bool:
    """Whether a client for `key` can be made of it. Nothing is asked, nothing is connected."""
    try:
        # The options of a URL are looked at no earlier than by a connection.
        connect(url, key=key).connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
    except (ValueError, TypeError, AttributeError, RedisError):
        return False
    return True


async def ping(queue: Queue) -> None:
    """Return when the server answers. Raises RedisAway and Refused."""
    async with looking(queue.client, "PING"):
        await queue.client.ping()


async def server(queue: Queue) -> ServerFacts:
    """Return what the server says of itself."""
    async with looking(queue.client, "INFO"):
        return await facts_of(queue)


async def hosts(queue: Queue, since: float = 0.0) -> list[HostSeen]:
    """Return the supervisors that beat since then, the newest first; the dead ones too."""
    keys, client = queue.keys, queue.client
    async with looking(client, f"ZRANGE {keys.hosts}"):
        beats = decoded(await client.zrange(keys.hosts, 0, -1, withscores=True))
        recent = [(name, float(at)) for name, at in reversed(beats) if float(at) >= since]
        pipeline = client.pipeline(transaction=False)
        for name, _ in recent:
            pipeline.get(keys.host(name))
        texts = decoded(await pipeline.execute())
    return [
        HostSeen(name, at, _beat_in(text)) for (name, at), text in zip(recent, texts, strict=True)
    ]


async def record(queue: Queue, run_id: str) -> dict[str, str]:
    """Return what is known of a run; empty when nothing is."""
    key = queue.keys.record(run_id)
    async with looking(queue.client, f"HGETALL {key}"):
        return dict(decoded(await queue.client.hgetall(key)))


async def has_result(queue: Queue, run_id: str) -> bool:
    """Whether the run has had its one result."""
    key = queue.keys.done(run_id)
    async with looking(queue.client, f"EXISTS {key}"):
        return bool(await queue.client.exists(key))


async def find_result(
    queue: Queue, run_id: str, ended_at: float | None = None
) -> dict[str, Any] | None:
    """Look for a run's result; None when it is not there any more.

    First around the time at which it ended (unix seconds), where that is known; then from the
    newest back.
    """
    if ended_at is not None and AROUND_S < ended_at < LAST_TIME_S:
        oldest, newest = (f"{int((ended_at + by_s) * 1000)}" for by_s in (-AROUND_S, AROUND_S))
        if (found := await _find(queue, run_id, oldest, newest)) is not None:
            return found
    return await _find(queue, run_id, "-", "+")


async def _find(queue: Queue, run_id: str, oldest: str, newest: str) -> dict[str, Any] | None:
    stream, seen, count = queue.keys.results, 0, 1
    mark = run_id if _PLAIN_ID.fullmatch(run_id) else ""
    while seen < MOST_LOOKED_AT:
        async with looking(queue.client, f"XREVRANGE {stream}"):
            page = decoded(
                await queue.client.xrevrange(stream, max=newest, min=oldest, count=count)
            )
        for payload in _payloads(page, mark):
            if payload.get("plugin_run_id") == run_id:
                return payload
        if len(page) < count:
            return None
        newest, seen = f"({page[-1][0]}", seen + len(page)
        count = page_after(count, sum(len(fields.get("payload", "")) for _, fields in page))
    return None


def page_after(count: int, size_bytes: int) -> int:
    """Return how many entries to read after a page of so many, which had this size.

    >>> page_after(1, 1_000), page_after(4, 16_000_000), page_after(16, 16_000)
    (2, 1, 20)
    """
    fitting = PAGE_BYTES * count // max(1, size_bytes)
    return max(1, min(fitting, 2 * count, PAGE))


async def streams(queue: Queue) -> list[StreamSeen]:
    """Return all streams with the group that reads them, whether they exist or not."""
    keys = queue.keys
    pairs = [(stream, keys.group) for stream in keys.request_streams]
    return [
        await _stream(queue, stream, group)
        for stream, group in [*pairs, (keys.results, keys.results_group)]
    ]


async def _stream(queue: Queue, stream: str, group: str) -> StreamSeen:
    async with looking(queue.client, f"XINFO GROUPS {stream}"):
        try:
            groups = decoded(await queue.client.xinfo_groups(stream))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return StreamSeen(stream, group, exists=False)
        length = int(await queue.client.xlen(stream))
    pending = next((int(g["pending"]) for g in groups if g["name"] == group), None)
    return StreamSeen(stream, group, exists=True, length=length, pending=pending)


@asynccontextmanager
async def looking(client: Redis, what: str) -> AsyncIterator[None]:
    """Turn a server that is away into RedisAway, and one that says no into Refused."""
    try:
        async with answering(client):
            yield
    except RedisError as error:
        raise Refused(what, error) from None


def _entries_in(answer: Any) -> list[Any]:
    """Return the entries of an XREAD: RESP2 answers with pairs, RESP3 with a dictionary."""
    if isinstance(answer, dict):
        pages = [page for several in answer.values() for page in several]
    else:
        pages = [page for _, page in answer or ()]
    return list(decoded([entry for page in pages for entry in page]))


def _beat_in(text: str | None) -> dict[str, Any] | None:
    """Read a heartbeat; None where there is none, or something else."""
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    workers = found.get("workers")
    slots = workers if isinstance(workers, list) else []
    return {**found, "workers": [slot for slot in slots if isinstance(slot, dict)]}


def _payloads(entries: Sequence[Any], mark: str = "") -> list[dict[str, Any]]:
    """Return the results among the entries; anybody may have written anything else.

    Those in whose text `mark` does not stand are left out.
    """
    found = []
    for _, fields in entries:
        if mark not in fields.get("payload", ""):
            continue
        try:
            payload = json.loads(fields["payload"])
        except (KeyError, TypeError, ValueError, RecursionError):
            continue
        if isinstance(payload, dict):
            found.append(payload)
    return found
