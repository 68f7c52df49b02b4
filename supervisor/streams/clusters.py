"""A client for the one node of a cluster that holds our slot. Called by connection.py.

All our names share a hash tag, so all our commands go to one node. A plain connection to it
keeps what the rest of this package is built on: scripts, blocking reads, one answer or one
error for each command. docs/decisions/0006 says why it is not redis-py's cluster client.
"""

import weakref
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,  # noqa: A004  # redis's own name
    MovedError,
    ResponseError,
    TimeoutError,  # noqa: A004  # redis's own name
)

from supervisor.streams.seeds import Address, Seeds

# A node that was asked names the right one; while slots move, that may be one more.
MOST_HOPS = 5


def cluster_client(seeds: Seeds, options: dict[str, Any], key: str) -> Redis:
    """Return a client of the node that holds `key`; of any node when it is ""."""
    if seeds.path.strip("/") not in ("", "0") and seeds.kind == "cluster":
        raise ValueError("a cluster has the database 0 only")
    asked = {**options, **seeds.options}
    is_encrypted = asked.pop("connection_class", None) is SSLConnection
    if not seeds.kind and seeds.path.strip("/"):
        asked.setdefault("db", int(seeds.path.strip("/")))
    kind = _EncryptedNodeConnection if is_encrypted else _NodeConnection
    return Redis.from_pool(_NodePool(seeds, key, connection_class=kind, **asked))


class _NodePool(ConnectionPool):
    """Connections to the node that holds one key, wherever it is now."""

    def __init__(self, seeds: Seeds, key: str, **options: Any) -> None:
        super().__init__(**options)
        self.connection_kwargs["connection_pool"] = weakref.proxy(self)
        self.key = key
        self.owner: Address | None = None
        self._seeds = seeds

    @property
    def where(self) -> str:
        """The node that was found last, and who was asked for it."""
        if self.owner is None or self.owner in self._seeds.hosts[:1]:
            return str(self._seeds)
        host, port = self.owner
        return f"{host}:{port} (of the cluster {self._seeds})"

    def starts(self) -> Iterable[Address]:
        """Return whom to ask, the likeliest first."""
        latest = [self.owner] if self.owner is not None else []
        return dict.fromkeys([*latest, *self._seeds.hosts])


class _NodeConnection(Connection):
    """Connects to a node, asks whether the key is there, and goes where the answer points."""

    def __init__(self, **options: Any) -> None:
        self._pool: _NodePool = options.pop("connection_pool")
        super().__init__(**options)

    async def connect(self) -> None:
        """Connect to the owner of the key."""
        if self.is_connected:
            return
        failures = []
        for start in self._pool.starts():
            try:
                self._pool.owner = await self._follow(start)
            except (ConnectionError, TimeoutError) as error:
                failures.append(str(error))
            else:
                return
        raise ConnectionError("; ".join(failures))

    async def _follow(self, address: Address) -> Address:
        for _ in range(MOST_HOPS):
            self.host, self.port = address
            await super().connect()  # type: ignore[no-untyped-call]  # redis-py
            if (there := await self._owner()) is None:
                return address
            await self.disconnect()
            # A node that does not know its own name leaves it out.
            address = (there[0].strip("?") or address[0], there[1])
        raise ConnectionError(f"the nodes of the cluster point from one to another, last {address}")

    async def _owner(self) -> Address | None:
        """Return the node that holds the key, None when it is this one."""
        if not self._pool.key:
            return None
        try:
            await self.send_command("EXISTS", self._pool.key, check_health=False)
            await self.read_response()
        except MovedError as moved:
            return moved.host, moved.port
        except ClusterDownError as down:
            await self.disconnect()
            raise ConnectionError(f"{down}") from None
        except ResponseError:
            # Not permitted, or the slot is on its way: the commands themselves will tell.
            return None
        return None


class _EncryptedNodeConnection(_NodeConnection, SSLConnection):
    """The same with TLS."""
