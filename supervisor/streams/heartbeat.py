"""Says every few seconds that this supervisor is alive, and what it is doing.

A key with a time to live, so that silence shows, and a place in the set of all supervisors,
so that the silent one is still known. For eyes and for commands, never for decisions.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from supervisor.errors import HostNameTaken, RedisAway
from supervisor.streams.connection import answering
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from supervisor.streams.server import facts_of

# A supervisor that was silent for so many beats is dead.
MISSED_BEATS = 3
# And is forgotten after so long.
REMEMBERED_S = 86_400.0
# How long a start waits for Redis to tell whether a name is free.
ASK_S = 1.0
TRIES = 8

Snapshot = Callable[[], Mapping[str, Any]]


async def free_boot(queue: Queue, host_name: str) -> str:
    """Return four hex digits that no living supervisor of this host name has.

    Without Redis nobody can tell, and the start must not wait: the first heartbeat does.
    """
    boot = secrets.token_hex(2)
    with suppress(RedisAway, RedisError, TimeoutError):
        async with asyncio.timeout(ASK_S), answering(queue.client):
            for _ in range(TRIES):
                if not await queue.client.exists(queue.keys.host(f"{host_name}-{boot}")):
                    break
                boot = secrets.token_hex(2)
    return boot


class Heartbeat:
    """The heartbeat of one supervisor, from its first connection to its end."""

    def __init__(self, queue: Queue, link: Link, host: str, every_s: float) -> None:
        self._queue = queue
        self._link = link
        self._host = host
        self._every_s = every_s
        self._is_ours = False
        self._outages_seen = -1
        self._server = ""
        self._soon = asyncio.Event()

    def soon(self) -> None:
        """Beat at once: something changed that others look for."""
        self._soon.set()

    async def beat_for_ever(self, snapshot: Snapshot) -> None:
        """Beat until cancelled. Raises HostNameTaken."""
        while True:
            await self._link.wait_until_up()
            self._soon.clear()
            try:
                await self._look_at_server()
                await self._beat(snapshot())
            except RedisAway as error:
                self._link.note_down(error)
            except RedisError as error:
                self._link.note_refused("heartbeat", error)
            # After an outage the first beat must not be late: others may have us for dead.
            await self._link.while_up(self._pause())

    async def leave(self) -> None:
        """Take the heartbeat away: we are not dead, we have gone."""
        if not self._is_ours:
            return
        keys, client = self._queue.keys, self._queue.client
        async with answering(client):
            await client.delete(keys.host(self._host))
            await client.zrem(keys.hosts, self._host)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every_s):
                await self._soon.wait()

    async def _look_at_server(self) -> None:
        """Ask who answers: at the start, and after an outage, when it may be another."""
        if self._outages_seen != self._link.outages:
            facts = await facts_of(self._queue)
            self._server = f"{facts.name} {facts.version}"
            self._outages_seen = self._link.outages

    async def _beat(self, snapshot: Mapping[str, Any]) -> None:
        keys, client, now = self._queue.keys, self._queue.client, time.time()
        facts = {**snapshot, "server": self._server, "every_s": self._every_s, "at": now}
        body = json.dumps(facts, default=str)
        ttl_ms = int(self._every_s * MISSED_BEATS * 1000)
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            pipeline.set(keys.host(self._host), body, px=ttl_ms, nx=not self._is_ours)
            pipeline.zadd(keys.hosts, {self._host: now})
            if not self._is_ours:
                pipeline.zremrangebyscore(keys.hosts, 0, now - REMEMBERED_S)
            answers = await pipeline.execute()
        if not (self._is_ours or answers[0]):
            await self._check_owner(snapshot)
        self._is_ours = True

    async def _check_owner(self, snapshot: Mapping[str, Any]) -> None:
        """Whose name is this? Ours, when the reply to our first beat was lost."""
        async with answering(self._queue.client):
            text = await self._queue.client.get(self._queue.keys.host(self._host))
        with suppress(ValueError, TypeError):
            other = json.loads(text or "null")
            same = ("pid", "started_at")
            if isinstance(other, dict) and any(other.get(k) != snapshot.get(k) for k in same):
                raise HostNameTaken(self._host, other.get("pid"))
