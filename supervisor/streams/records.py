"""Where each run is, and that we are alive: the run records and the heartbeat.

Records are for eyes (`crewpool submit --wait`, `crewpool workers`), never for decisions:
they are written a few times a second, in one pipeline, and lost without harm.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams.connection import answering
from supervisor.streams.endings import Bury, Drop, Ending, Finish
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue

FLUSH_S = 0.25
HEARTBEAT_S = 2.0
HEARTBEAT_TTL_S = 10


@dataclass(frozen=True)
class HostFacts:
    """Who writes: the name in heartbeats, and how long records live."""

    host: str
    record_ttl_s: int


class Records:
    """Gathers what is worth knowing and writes it in the background."""

    def __init__(
        self,
        queue: Queue,
        link: Link,
        facts: HostFacts,
        log: Log,
    ) -> None:
        self._queue = queue
        self._link = link
        self._facts = facts
        self._log = log
        self._unwritten: dict[str, dict[str, str]] = {}

    def note(self, run_id: str, **facts: object) -> None:
        """Remember facts about a run; the newest win."""
        self._unwritten.setdefault(run_id, {}).update(_texts(facts))

    def last(self, ending: Ending) -> dict[str, str]:
        """Return what the script that ends a run writes into its record."""
        # Unwritten progress would come after the end and bring the run back to life.
        facts = self._unwritten.pop(ending.run_id, {})
        now = {"ended_at": f"{time.time():.3f}"}
        if isinstance(ending, Finish):
            return {**facts, **now, "state": ending.result.status, "error": ending.result.error}
        if isinstance(ending, Bury):
            result = ending.result
            return {**facts, **now, "state": "failed", "error": result.error if result else ""}
        if isinstance(ending, Drop):
            return {}
        return {**facts, "state": "pending", "handed_back_because": ending.because}

    async def write_for_ever(self, snapshot: Callable[[], Mapping[str, Any]]) -> None:
        """Write records as they change and a heartbeat every two seconds."""
        beat_at = 0.0
        while True:
            await self._link.wait_until_up()
            try:
                await self._write_records()
                if time.monotonic() >= beat_at:
                    await self._beat(snapshot())
                    beat_at = time.monotonic() + HEARTBEAT_S
            except RedisAway as error:
                self._link.note_down(error)
            except RedisError as error:
                self._link.note_refused("records", error)
                beat_at = time.monotonic() + HEARTBEAT_S
            await asyncio.sleep(FLUSH_S)

    async def leave(self) -> None:
        """Take our heartbeat away: we are not dead, we have gone."""
        keys, client = self._queue.keys, self._queue.client
        async with answering(client):
            await client.delete(keys.host(self._facts.host))
            await client.zrem(keys.hosts, self._facts.host)

    async def _write_records(self) -> None:
        if not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, {}
        client = self._queue.client
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            for run_id, facts in unwritten.items():
                key = self._queue.keys.record(run_id)
                mapping: dict[Any, Any] = {**facts}
                pipeline.hset(key, mapping=mapping)
                pipeline.expire(key, self._facts.record_ttl_s)
            await pipeline.execute()

    async def _beat(self, snapshot: Mapping[str, Any]) -> None:
        keys, client = self._queue.keys, self._queue.client
        body = json.dumps({**snapshot, "at": time.time()}, default=str)
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            pipeline.set(keys.host(self._facts.host), body, ex=HEARTBEAT_TTL_S)
            pipeline.zadd(keys.hosts, {self._facts.host: time.time()})
            await pipeline.execute()


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in facts.items() if value is not None}
