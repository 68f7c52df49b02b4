"""Where each run is: the run records.

Records are for eyes (`crewpool submit --wait`), never for decisions: they are written a few
times a second, in one pipeline, and lost without harm.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.streams.connection import answering
from supervisor.streams.endings import Bury, Ending, Finish, HandBack
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue

FLUSH_S = 0.25


class Records:
    """Gathers what is worth knowing and writes it in the background."""

    def __init__(self, queue: Queue, link: Link, ttl_s: int) -> None:
        self._queue = queue
        self._link = link
        self._ttl_s = ttl_s
        self._unwritten: dict[str, dict[str, str]] = {}

    def note(self, run_id: str, **facts: object) -> None:
        """Remember facts about a run; the newest win."""
        self._unwritten.setdefault(run_id, {}).update(_texts(facts))

    def last(self, ending: Ending) -> dict[str, str]:
        """Return what the script that ends a run writes into its record."""
        # Unwritten progress would come after the end and bring the run back to life.
        facts = self._unwritten.pop(ending.run_id, {})
        now = time.time()
        if isinstance(ending, HandBack):
            facts |= {"handed_back_because": ending.because, "state": "pending"}
            if ending.delay_s:
                facts |= {"state": "delayed", "due_at": f"{now + ending.delay_s:.3f}"}
        elif isinstance(ending, Finish | Bury):
            result = ending.result
            facts |= {"ended_at": f"{now:.3f}", "cause": ending.cause or "completed"}
            facts |= {"state": result.status if result else "failed"}
            facts |= {"error": result.error if result else ""}
        return facts

    async def write_for_ever(self) -> None:
        """Write records as they change, and nothing while none does."""
        while True:
            await self._link.wait_until_up()
            try:
                await self._write_records()
            except RedisAway as error:
                self._link.note_down(error)
            except RedisError as error:
                self._link.note_refused("records", error)
            await asyncio.sleep(FLUSH_S)

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
                pipeline.expire(key, self._ttl_s)
                if "state" in facts:  # progress alone is no news for a list of runs
                    pipeline.zadd(self._queue.keys.runs, {run_id: int(time.time())})
            await pipeline.execute()


def _texts(facts: Mapping[str, object]) -> dict[str, str]:
    return {key: str(value) for key, value in facts.items() if value is not None}
