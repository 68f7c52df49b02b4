"""The results as the application's group reads them: each is somebody's until it is acknowledged.

Called by supervisor/runs/consumer.py. What stays unacknowledged is looked at with XPENDING and
XRANGE: a read from the beginning would count as a delivery (trap R3). Errors of Redis are
RedisAway where it is away, and redis.exceptions where it says no.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from supervisor.streams.connection import answering, connect
from supervisor.streams.keys import Keys
from supervisor.streams.messages import pages_of
from supervisor.streams.script_loader import decoded
from supervisor.streams.wire import SCHEMA_VERSION, Result, is_run_id

COUNT = 10
BLOCK_S = 5.0
MOST_DEAD = 10_000
LARGEST_IN_A_LETTER = 65_536
GONE = "gone"
FIRST = "0-0"


@dataclass(frozen=True)
class ResultEntry:
    """One entry of the results: a Result, or None and the problem that it has.

    `problem` is GONE for one that was cut off its stream while it was pending.
    """

    id: str
    result: Result | None
    problem: str = ""
    payload: str = ""


class ResultStream:
    """Reads as one consumer of the results' group; `consumer` is a name that nobody else has."""

    def __init__(self, url: str, keys: Keys, consumer: str) -> None:
        self._keys = keys
        self._consumer = consumer
        self._client = connect(url, blocks_s=BLOCK_S, name="crewpool-results", key=keys.results)

    async def fresh(self, block_s: float = BLOCK_S) -> list[ResultEntry]:
        """Return up to ten results that nobody has read; waits so long when there are none."""
        keys, group = self._keys, self._keys.results_group
        block_ms = max(1, int(min(block_s, BLOCK_S) * 1000))
        try:
            async with answering(self._client):
                answer = await self._client.xreadgroup(
                    group, self._consumer, {keys.results: ">"}, count=COUNT, block=block_ms
                )
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.ensure_group()
            return []
        return [entry_of(*entry) for _, entries in pages_of(answer) for entry in entries]

    async def pending(self, after: str = "-") -> list[ResultEntry]:
        """Return up to ten results that this consumer has read and not acknowledged."""
        group, results = self._keys.results_group, self._keys.results
        first = "-" if after == "-" else f"({after}"
        async with answering(self._client):
            try:
                rows = await self._client.xpending_range(
                    results, group, first, "+", COUNT, self._consumer
                )
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                return []
            pipeline = self._client.pipeline(transaction=False)
            ids = [str(decoded(row["message_id"])) for row in rows]
            for entry_id in ids:
                pipeline.xrange(results, entry_id, entry_id)
            found = decoded(await pipeline.execute())
        return [
            entry_of(*entries[0]) if entries else ResultEntry(entry_id, None, GONE)
            for entry_id, entries in zip(ids, found, strict=True)
        ]

    async def claim(self, idle_s: float, after: str = FIRST) -> tuple[list[ResultEntry], str]:
        """Take over what other consumers have left alone for so long, up to ten from `after` on.

        Returns them, and where the next page begins, FIRST behind the last one. A page may be
        empty and not the last (trap R5).
        """
        async with answering(self._client):
            try:
                answer = await self._client.xautoclaim(
                    self._keys.results,
                    self._keys.results_group,
                    self._consumer,
                    int(idle_s * 1000),
                    after,
                    count=COUNT,
                )
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                return [], FIRST
        cursor, entries, lost = (*decoded(answer), [])[:3]
        claimed = [entry_of(*entry) for entry in entries if entry[1] is not None]
        return claimed + [ResultEntry(entry_id, None, GONE) for entry_id in lost], cursor

    async def acknowledge(self, ids: Sequence[str]) -> None:
        """Let go of results whose effect is kept."""
        if ids:
            async with answering(self._client):
                await self._client.xack(self._keys.results, self._keys.results_group, *ids)

    async def bury(self, entry: ResultEntry) -> None:
        """Keep an entry that is no result among the dead ones, and let go of it, in one step."""
        fields: dict[Any, Any] = {
            "reason": entry.problem,
            "entry_id": entry.id,
            # As it came: bytes that are no UTF-8 cannot be written as a text.
            "payload": entry.payload.encode("utf-8", "surrogateescape")[:LARGEST_IN_A_LETTER],
        }
        async with answering(self._client):
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xadd(self._keys.dead_results, fields, maxlen=MOST_DEAD, approximate=True)
            pipeline.xack(self._keys.results, self._keys.results_group, entry.id)
            await pipeline.execute()

    async def held(self) -> list[str]:
        """Return the ids of all runs in hand, whichever supervisor has them."""
        async with answering(self._client):
            fields = decoded(await self._client.hkeys(self._keys.holding))
        # Entries without a run are held, too, under names of another kind.
        return [field for field in fields if is_run_id(field)]

    async def states(self, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return what the records in Redis say of runs: state, started_at and attempt.

        A key that is no record says nothing, and hides no other.
        """
        names = ["state", "started_at", "attempt"]
        pipeline = self._client.pipeline(transaction=False)
        for run_id in run_ids:
            pipeline.hmget(self._keys.record(run_id), names)
        async with answering(self._client):
            rows = decoded(await pipeline.execute(raise_on_error=False))
        for row in rows:
            if isinstance(row, Exception) and not str(row).startswith("WRONGTYPE"):
                raise row
        return {
            run_id: {name: str(value) for name, value in zip(names, row, strict=True) if value}
            for run_id, row in zip(run_ids, rows, strict=True)
            if not isinstance(row, Exception)
        }

    async def ensure_group(self) -> None:
        """Make the stream and the group where they are missing, from the first entry on."""
        async with answering(self._client):
            try:
                await self._client.xgroup_create(
                    self._keys.results, self._keys.results_group, id="0", mkstream=True
                )
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def leave(self) -> None:
        """Take our consumer out of the group; not with something pending (trap R8)."""
        if not await self.pending():
            async with answering(self._client):
                await self._client.xgroup_delconsumer(
                    self._keys.results, self._keys.results_group, self._consumer
                )

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def entry_of(entry_id: str, fields: Mapping[str, str]) -> ResultEntry:
    """Check an entry as anybody may have written it."""
    payload = fields.get("payload")
    if payload is None:
        return ResultEntry(entry_id, None, "it has no field `payload`")
    version = fields.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        problem = f"schema_version {version[:20]!r} is not supported (supported: {SCHEMA_VERSION})"
        return ResultEntry(entry_id, None, problem, payload)
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return ResultEntry(entry_id, None, f"it is no JSON: {str(error)[:200]}", payload)
    if problem := _problem_of(body):
        return ResultEntry(entry_id, None, problem, payload)
    meta = body.get("meta")
    result = Result(
        body["plugin_run_id"],
        body["status"],
        body.get("output") or "",
        body.get("error") or "",
        meta if isinstance(meta, dict) else {},
    )
    return ResultEntry(entry_id, result, payload=payload)


def ids_of(entries: Iterable[ResultEntry]) -> list[str]:
    """Return the ids of entries."""
    return [entry.id for entry in entries]


def _problem_of(body: Any) -> str:
    if not isinstance(body, dict):
        return "it is no JSON object"
    if not is_run_id(body.get("plugin_run_id")):
        return "plugin_run_id is none"
    if body.get("status") not in ("completed", "failed"):
        return "status must be completed or failed"
    for name in ("output", "error"):
        if not isinstance(body.get(name, ""), str | None):
            return f"{name} must be a string"
    return ""
