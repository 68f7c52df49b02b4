"""A client for the primary that Sentinel names. Called by connection.py.

redis-py asks a sentinel for the primary before each connection. So whoever drops its
connections after an error finds the new primary with the next ones.
"""

import asyncio
import time
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
from redis.exceptions import ConnectionError, RedisError  # noqa: A004  # redis's own name

from supervisor.streams.seeds import Seeds

# How often sentinels are asked while all is well, how long, and how long not when none answers.
ASK_EVERY_S = 1.0
ASK_FOR_S = 1.0
ASK_AGAIN_S = 30.0
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
        self._named = {}
        for host, port in seeds.hosts:
            pool = ConnectionPool(**classes, host=host, port=port, **options)
            sentinel = Redis.from_pool(pool)
            self._named[sentinel] = f"{host}:{port}"
            self.sentinels.append(sentinel)

    async def discover_master(self, service_name: str) -> Any:
        """Return the primary's address; else tell what each sentinel said.

        redis-py keeps to itself why a sentinel did not answer: a wrong password, say.
        """
        told = []
        for place, sentinel in enumerate(self.sentinels):
            try:
                services: Any = await sentinel.sentinel_masters()
            except RedisError as error:
                told.append(f"{self._named[sentinel]}: {error}")
                continue
            state = services.get(service_name)
            if state and self.check_master_state(state, service_name):
                # The next question goes to one that answers.
                self.sentinels.insert(0, self.sentinels.pop(place))
                return state["ip"], state["port"]
            why = "its primary is down" if state else "it does not know the service"
            told.append(f"{self._named[sentinel]}: {why}")
        raise MasterNotFoundError(
            f"no sentinel names a primary of {service_name} ({'; '.join(told)})"
        )


class _PrimaryPool(SentinelConnectionPool):
    """Connections to the primary; those to the sentinels end with them."""

    _ask_again_at = 0.0

    async def get_connection(self, *words: Any, **options: Any) -> Any:
        """Return a connection to the primary. Raises ConnectionError when it is another now.

        After a failover by hand Sentinel leaves the old primary alone for ten seconds: it
        answers, and what is written to it is lost (trap R17). So we ask in between. That it
        is another is an outage, though a short one: what blocks at the old one must end, and
        leases are renewed first.
        """
        if self.master_address is not None and time.monotonic() >= self._ask_again_at:
            await self._ask_again(self.master_address)
        return await super().get_connection(*words, **options)  # type: ignore[no-untyped-call]  # redis-py

    async def _ask_again(self, before: Any) -> None:
        self._ask_again_at = time.monotonic() + ASK_EVERY_S
        try:
            async with asyncio.timeout(ASK_FOR_S):
                host, port = await self.get_master_address()  # type: ignore[no-untyped-call]  # redis-py
        except (MasterNotFoundError, TimeoutError):
            # That no sentinel answers is no reason to leave a primary that does.
            self._ask_again_at += ASK_AGAIN_S
            return
        if (host, port) != before:
            raise ConnectionError(f"the primary is {host}:{port} now")

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
