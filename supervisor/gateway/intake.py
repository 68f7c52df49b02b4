"""Takes runs in: straight to Redis, or recorded first where there are run records.

A run under an id that is known is the same run if it asks for the same; the digest of plugin,
user and settings says so. With records it waits in the outbox while Redis is away or full.
"""

import asyncio
import uuid
from typing import Protocol

from supervisor.gateway.models import Accepted, RunRequest, What, status_of
from supervisor.gateway.problems import Refusal
from supervisor.gateway.turns import Turns
from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.runs.errors import RunIdTaken
from supervisor.runs.publisher import AsyncPublisher
from supervisor.runs.requests import PluginRequest
from supervisor.streams import inspect
from supervisor.streams.queue import Queue

# The outbox does the waiting, not the client.
AT_ONCE = Options(retries=0)
_KEYS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:crewpool:idempotency-key")


class Intake(Protocol):
    """Where runs are handed in."""

    async def take(self, request: PluginRequest) -> Accepted:
        """Accept a run. Raises RunIdTaken, and what publishing and recording raise."""

    async def close(self) -> None:
        """Close the connections."""


class Straight:
    """Publishes at once, or says why not."""

    def __init__(self, publisher: AsyncPublisher, queue: Queue, max_payload_bytes: int) -> None:
        self._publisher = publisher
        self._queue = queue
        self._max_payload_bytes = max_payload_bytes
        self._calls = Turns()

    async def take(self, request: PluginRequest) -> Accepted:
        """Publish a run. Raises RequestInvalid, RunIdTaken, PublishFailed, RedisAway, Refused."""
        async with self._calls.one():
            return await self._take(request)

    async def _take(self, request: PluginRequest) -> Accepted:
        placed = await self._publisher.place(request)
        if placed.what == "ended" and not placed.state:
            # Its record is gone before the mark that it has its result.
            told = "The run of this id or key has ended, and how is not kept: choose another."
            raise Refusal("has-ended", told, run_id=placed.run_id)
        what: What = "known"
        if placed.what in ("known", "ended"):
            await self._refuse_another(request)
        elif placed.what == "delayed":
            what = "delayed"
        elif placed.what == "unique":
            what = "unique"
        else:
            what = "published"
        return Accepted(plugin_run_id=placed.run_id, status=status_of(placed.state), what=what)

    async def close(self) -> None:
        """Close the connections."""
        await self._publisher.close()

    async def _refuse_another(self, request: PluginRequest) -> None:
        record = await inspect.record(self._queue, request.plugin_run_id)
        # Runs that others published have no digest, and those from long ago no record.
        digest = request.publication(self._max_payload_bytes).unique
        if record.get("digest", digest) != digest:
            raise RunIdTaken(request.plugin_run_id)


class Recorded:
    """Records a run, then publishes it, or leaves it in the outbox."""

    def __init__(self, dispatcher: Dispatcher, calls: Turns) -> None:
        self._dispatcher = dispatcher
        self._calls = calls

    async def take(self, request: PluginRequest) -> Accepted:
        """Dispatch a run. Raises as Dispatcher.dispatch."""
        async with self._calls.one():
            done = await asyncio.to_thread(self._dispatcher.dispatch, request, AT_ONCE)
        is_later = done.what == "published" and (request.delay_s or request.at is not None)
        return Accepted.model_validate(
            {
                "plugin_run_id": done.run_id,
                "status": done.status,
                "what": "delayed" if is_later else done.what,
            }
        )

    async def close(self) -> None:
        """End the relay, and close the connections."""
        await asyncio.to_thread(self._dispatcher.close)


def request_of(asked: RunRequest, key: str | None, owner: str) -> PluginRequest:
    """Return what is to be published. Raises Refusal.

    `key` is the value of Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): the id of
    the run follows from it and from whose token it came with, so that it holds on any gateway.
    """
    if key is not None and asked.plugin_run_id is not None:
        told = "plugin_run_id and Idempotency-Key both say which run it is: send one of them."
        raise Refusal("invalid", told)
    run_id = asked.plugin_run_id or str(
        uuid.uuid4() if key is None else uuid.uuid5(_KEYS, f"{owner}:{key}")
    )
    return PluginRequest(
        plugin_name=asked.plugin_name,
        user_id=asked.user_id,
        settings=asked.settings or {},
        plugin_run_id=run_id,
        priority=asked.priority,
        at=asked.at,
        delay_s=asked.delay_s,
        unique_for_s=asked.unique_for_s,
    )
