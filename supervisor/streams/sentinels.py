"""A client for the primary that Sentinel names. Called by connection.py.

redis-py asks a sentinel for the primary before each connection. So whoever drops its
connections after an error finds the new primary with the next ones.
"""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from supervisor.streams.seeds import Seeds

# What holds for connections to sentinels as it does for those to the primary. Not so user
# and password: sentinels have their own, or none.
_SHARED = ("ssl_", "socket_connect_timeout", "retry", "protocol", "client_name")


def sentinel_client(seeds: Seeds, options: dict[str, Any], answer_timeout_s: float) -> Redis:
    """Return a client of the service that the path names: `<service>` or `<service>/<db>`."""
    service, _, db = seeds.path.partition("/")
    if not service or not (db or "0").isdecimal():
        raise ValueError("the path must be /<service> or /<service>/<db>")
    asked = {**options, **seeds.options}
    login = {
        name: asked.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in asked
    }
    is_encrypted = asked.pop("connection_class", None) is SSLConnection
    shared = {name: value for name, value in asked.items() if name.startswith(_SHARED)}
    manager = _Sentinels(seeds, {**shared, "socket_timeout": answer_timeout_s, **login})
    pool = _PrimaryPool(  # type: ignore[no-untyped-call]  # redis-py
        service,
        manager,
        connection_class=SentinelManagedSSLConnection
        if is_encrypted
        else SentinelManagedConnection,
        **{"db": int(db or 0), **asked},
    )
    return Redis.from_pool(pool)


class _Sentinels(Sentinel):
    """The sentinels, with connections that are tried once."""

    def __init__(self, seeds: Seeds, options: dict[str, Any]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]  # redis-py
        kind = seeds.options.get("connection_class")
        classes = {"connection_class": kind} if kind else {}
        self.hosts = str(seeds)
        self._shown = {}
        for host, port in seeds.hosts:
            pool = ConnectionPool(**classes, host=host, port=port, **options)
            sentinel = Redis.from_pool(pool)
            self._shown[str(sentinel)] = f"{host}:{port}"
            self.sentinels.append(sentinel)

    async def discover_master(self, service_name: str) -> Any:
        """Return the primary's address; else say in few words which sentinel said what."""
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError as error:
            told = str(error)
        # The library's text shows whole objects, and in them what should not be shown.
        for long, short in self._shown.items():
            told = told.replace(long, short)
        raise MasterNotFoundError(told)


class _PrimaryPool(SentinelConnectionPool):
    """Connections to the primary; those to the sentinels end with them."""

    @property
    def where(self) -> str:
        """The primary that was named last, and who names it."""
        by = f"{self.service_name} of the sentinels {self.sentinel_manager.hosts}"
        if self.master_address is None:
            return by
        host, port = self.master_address
        return f"{host}:{port} ({by})"

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002  # redis-py's signature
        """Disconnect from the primary and from the sentinels."""
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect(inuse_connections)
