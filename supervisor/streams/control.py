"""Hears what this supervisor is told over Redis, and sends its replies.

Two tasks: one listens on a connection of its own, because it blocks, and one answers. The
loop reads what was ordered with `take` and answers with `answer`; neither waits for Redis.
An outage of this connection alone is no outage: runs go on, and listening begins anew where
it ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams.connection import answering, connect
from supervisor.streams.link import Link
from supervisor.streams.messages import (
    MESSAGES_TTL_S,
    MOST_REPLIES,
    REPLIES_TTL_S,
    BadMessage,
    Order,
    Reply,
    pages_of,
    parse,
    place_of,
)
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded

# Long, because every end of a block costs a command; a message ends it at once.
BLOCK_S = 15.0
PAGE = 50
RETRY_S = 0.5
FIRST = "0-0"


class Control:
    """The control channel of one supervisor, from its first connection to its end."""

    def __init__(
        self,
        queue: Queue,
        url: str,
        link: Link,
        host: str,
        ring: Callable[[], None],
        log: Log,
    ) -> None:
        self._queue = queue
        self._link = link
        self._host = host
        self._ring = ring
        self._log = log
        self._own = queue.keys.messages_to(host)
        self._client = connect(url, blocks_s=BLOCK_S, name="crewpool-control", key=self._own)
        self._all = queue.keys.messages_to_all
        self._after: dict[str, str] = {}
        self._orders: deque[Order] = deque()
        # Nobody waits for a reply for long: where Redis takes none, the oldest go.
        self._replies: deque[tuple[str, Reply]] = deque(maxlen=MOST_REPLIES)
        self._something_to_say = asyncio.Event()

    def take(self) -> list[Order]:
        """Return what was ordered since the last call, in order."""
        orders, self._orders = list(self._orders), deque()
        return orders

    def answer(self, order: Order, *, ok: bool, text: str, facts: Mapping[str, Any]) -> None:
        """Reply to an order, if somebody waits for it."""
        self._say(order.reply_to, Reply(self._host, order.id, ok, text, facts))

    async def listen_for_ever(self) -> None:
        """Note what is ordered, until cancelled."""
        troubles = 0
        while True:
            await self._link.wait_until_up()
            try:
                await self._find_place()
                # Whoever notices an outage first ends this read, too: it may hang in it.
                while await self._link.while_up(self._read()):
                    troubles = 0
            except RedisError as error:
                self._link.note_refused("control", error)
            except RedisAway as error:
                # The others say when Redis is away. What only we see is told the second time:
                # a connection that was idle for long may be cut off by anything in between.
                troubles += 1
                if troubles > 1 and self._link.is_up:
                    self._link.note_refused("control", error)
            await asyncio.sleep(RETRY_S)

    async def answer_for_ever(self) -> None:
        """Send replies until cancelled."""
        while True:
            await self._something_to_say.wait()
            await self._link.wait_until_up()
            while self._replies:
                stream, reply = self._replies.popleft()
                try:
                    await self._send(stream, reply)
                except RedisAway as error:
                    self._replies.appendleft((stream, reply))
                    self._link.note_down(error)
                    break
                except RedisError as error:
                    self._link.note_refused("reply", error)
            else:
                self._something_to_say.clear()

    async def leave(self) -> None:
        """Take our stream away: whoever writes to us now writes to nobody."""
        async with answering(self._queue.client):
            await self._queue.client.delete(self._own)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _find_place(self) -> None:
        """Start behind the newest messages, or after an outage where we were."""
        for stream, count in ((self._own, 1), (self._all, PAGE)):
            async with answering(self._client):
                newest = decoded(await self._client.xrevrange(stream, count=count))
            last = newest[0][0] if newest else FIRST
            if stream not in self._after:
                self._after[stream] = last
                self._note_old(reversed(newest))
            # A server that lost its data counts from the beginning.
            self._after[stream] = min(self._after[stream], last, key=place_of)

    async def _read(self) -> None:
        """Wait for messages and note them."""
        after: dict[Any, Any] = dict(self._after)
        async with answering(self._client):
            answer = await self._client.xread(after, count=PAGE, block=int(BLOCK_S * 1000))
        for stream, entries in pages_of(answer):
            self._after[stream] = entries[-1][0]
            self._note(entries)
            if stream == self._own:
                # Whoever wrote may have set no end to it, and we may be killed.
                async with answering(self._queue.client):
                    await self._queue.client.expire(stream, MESSAGES_TTL_S)

    def _note_old(self, entries: Iterable[Any]) -> None:
        """Heed cancels of runs that may have been taken here before we listened, and no more."""
        for entry_id, fields in entries:
            order = parse(entry_id, fields, self._queue.keys)
            if isinstance(order, Order) and order.kind == "cancel":
                self._orders.append(replace(order, reply_to="", is_old=True))

    def _note(self, entries: Iterable[Any]) -> None:
        for entry_id, fields in entries:
            order = parse(entry_id, fields, self._queue.keys)
            if isinstance(order, Order):
                self._orders.append(order)
                self._ring()
            else:
                self._refuse(entry_id, order)

    def _refuse(self, entry_id: str, bad: BadMessage) -> None:
        self._log.warning("message_refused", entry=entry_id, problem=bad.problem)
        self._say(bad.reply_to, Reply(self._host, bad.id, ok=False, text=bad.problem))

    def _say(self, stream: str, reply: Reply) -> None:
        if stream:
            self._replies.append((stream, reply))
            self._something_to_say.set()

    async def _send(self, stream: str, reply: Reply) -> None:
        client = self._queue.client
        fields: dict[Any, Any] = {**reply.fields()}
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            pipeline.xadd(stream, fields, maxlen=MOST_REPLIES, approximate=True)
            pipeline.expire(stream, REPLIES_TTL_S)
            await pipeline.execute()
