"""How we connect: no silent retries, timeouts above every block, one error for "away".

redis-py repeats commands ten times by default; a repeated XADD whose reply was lost is a
second entry (trap R1). We repeat only what is safe to repeat, and do it ourselves.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError  # noqa: A004  # redis's own names

from supervisor.addresses import without_password
from supervisor.errors import RedisAway

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
BLOCK_S = 5.0
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError)


def connect(url: str, *, blocks_s: float = 0.0, name: str = "crewpool") -> Redis:
    """Return a client that connects at its first command.

    `blocks_s` is the longest BLOCK it will send: the socket's timeout lies above it, or
    redis-py gives up and sends the read again (trap R2).
    """
    return Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=blocks_s + ANSWER_TIMEOUT_S,
        client_name=name,
    )


@asynccontextmanager
async def answering(client: Redis) -> AsyncIterator[None]:
    """Turn every way in which a server is not there into RedisAway."""
    try:
        yield
    except _AWAY as error:
        raise RedisAway(where(client), f"{type(error).__name__}: {error}"[:200]) from None
    except asyncio.CancelledError:
        # The reply of the cancelled command is still on its way: never read it as the next.
        await client.connection_pool.disconnect(inuse_connections=False)
        raise
    # redis-py may have its answer in the instant of the cancellation, and swallow it: whoever
    # pressed Ctrl-C then waits for a task that goes on.
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError


def where(client: Redis) -> str:
    """Return the server's address as it may be shown."""
    facts: dict[str, Any] = client.connection_pool.connection_kwargs
    if path := facts.get("path"):
        return without_password(str(path))
    return f"{facts.get('host', 'localhost')}:{facts.get('port', 6379)}"
