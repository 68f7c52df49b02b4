"""Publishes a request the way an application does: for `crewpool submit` and `demo`.

One XADD with the three fields of the wire contract, tried once. A repeated XADD whose reply
was lost is a second entry (trap R1), so what is not known is said instead of tried again.
"""

import time
from typing import Any

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.streams.connection import answering
from supervisor.streams.inspect import Refused
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Queue
from supervisor.streams.wire import Request, entry_fields
from worker.errors import CrewpoolError

PRIORITIES = ("critical", "high", "normal", "low")


class PublishUncertain(CrewpoolError):  # noqa: N818  # named for what happened
    """The connection broke between the command and its reply."""

    def __init__(self, run_id: str, away: RedisAway) -> None:
        self.run_id = run_id
        super().__init__(
            f"Whether run {run_id} was published is not known: {away}. It is safe to submit it "
            f"again with --run-id {run_id}: a run id never gets a second result."
        )


def stream_of(keys: Keys, priority: str) -> str:
    """Return the stream of a priority; `normal` is the plain name."""
    return keys.request_streams[PRIORITIES.index(priority)]


async def publish(queue: Queue, stream: str, run_id: str, payload: str) -> str:
    """Add one request to a stream; return the id of its entry.

    Raises RedisAway when nothing was sent, PublishUncertain when nobody knows, and Refused.
    """
    client = queue.client
    fields: dict[Any, Any] = dict(entry_fields(payload))
    # By itself, so that a server which is simply not there leaves no doubt.
    async with answering(client):
        await client.ping()
    try:
        async with answering(client):
            entry_id = await client.xadd(stream, fields)
    except RedisAway as away:
        raise PublishUncertain(run_id, away) from None
    except RedisError as error:
        raise Refused(f"XADD {stream}", error) from None
    return entry_id.decode() if isinstance(entry_id, bytes) else str(entry_id)


async def note_published(queue: Queue, request: Request, ttl_s: int) -> bool:
    """Begin the run's record, so that it is known before a supervisor takes it.

    No state is written: a supervisor may have been faster. Returns False when it could not
    be done; an application's user may publish and write no records.
    """
    client, key = queue.client, queue.keys.record(request.run_id)
    facts: dict[Any, Any] = {"plugin": request.plugin, "published_at": f"{time.time():.3f}"}
    try:
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            pipeline.hset(key, mapping=facts)
            pipeline.expire(key, ttl_s)
            await pipeline.execute()
    except (RedisAway, RedisError):
        return False
    return True
