"""How we connect: no silent retries, timeouts above every block, one error for "away".

redis-py repeats commands ten times by default; a repeated XADD whose reply was lost is a
second entry (trap R1). We repeat only what is safe to repeat, and do it ourselves.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  # redis's own name
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004  # redis's own name
    TryAgainError,
)

from supervisor.addresses import without_password
from supervisor.errors import RedisAway
from supervisor.streams.clusters import cluster_client
from supervisor.streams.seeds import seeds_of
from supervisor.streams.sentinels import sentinel_client

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
BLOCK_S = 10.0
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, OSError)
# This node is not, or not yet, the one to talk to. MOVED is an AskError.
_ELSEWHERE = (ReadOnlyError, AskError, TryAgainError, ClusterDownError)
# Its primary became a replica while a command was blocked there; or it has lost all of its
# replicas, maybe because one of them is the primary now.
_NOT_HERE = ("UNBLOCKED", "NOREPLICAS")


def connect(url: str, *, blocks_s: float = 0.0, name: str = "crewpool", key: str = "") -> Redis:
    """Return a client that connects at its first command. Raises ValueError for no address.

    `blocks_s` is the longest BLOCK it will send: the socket's timeout lies above it, or
    redis-py gives up and sends the read again (trap R2).
    `key` is one of the names that it will touch: on a cluster, they decide about the node.
    """
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": blocks_s + ANSWER_TIMEOUT_S,
        "client_name": name,
    }
    scheme = url.partition("://")[0]
    if scheme.endswith("+sentinel"):
        return sentinel_client(seeds_of(url), options, ANSWER_TIMEOUT_S)
    # Names with a hash tag are made for a cluster, whatever the address looks like.
    if scheme.endswith("+cluster") or ("{" in key and scheme in ("redis", "rediss")):
        return cluster_client(seeds_of(url), options, key)
    return Redis.from_url(url, **options)


@asynccontextmanager
async def answering(client: Redis) -> AsyncIterator[None]:
    """Turn every way in which a server is not there into RedisAway."""
    try:
        yield
    except (*_AWAY, *_ELSEWHERE) as error:
        # What ended this one ended those that lie idle: each would fail once more, for nothing.
        with suppress(*_AWAY):
            await client.connection_pool.disconnect(inuse_connections=False)
        raise _away(client, error) from None
    except ResponseError as error:
        if str(error).startswith(_NOT_HERE):
            raise _away(client, error) from None
        raise
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
    if told := getattr(client.connection_pool, "where", None):
        return str(told)
    facts: dict[str, Any] = client.connection_pool.connection_kwargs
    if path := facts.get("path"):
        return without_password(str(path))
    return f"{facts.get('host', 'localhost')}:{facts.get('port', 6379)}"


def _away(client: Redis, error: Exception) -> RedisAway:
    return RedisAway(where(client), f"{type(error).__name__}: {error}"[:300])
