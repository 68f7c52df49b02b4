"""Tells supervisors what to do, and waits for their replies: the other end of control.py.

Called by commands, never by a supervisor.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis

from supervisor.streams.connection import connect
from supervisor.streams.inspect import looking
from supervisor.streams.messages import (
    MESSAGES_TTL_S,
    MOST_MESSAGES,
    Order,
    Reply,
    new_reply_stream,
    pages_of,
    reply_of,
)
from supervisor.streams.queue import Queue

BLOCK_S = 1.0
FIRST = "0-0"


@dataclass(frozen=True)
class Heard:
    """What became of an order at one supervisor; `reply` is None where none came in time."""

    host: str
    reply: Reply | None = None
    after_s: float = 0.0


async def ask(
    queue: Queue, url: str, hosts: Sequence[str], order: Order, timeout_s: float
) -> list[Heard]:
    """Send an order to some supervisors and wait for their replies, for so long at most."""
    # A stream for each: however many there are, none of their replies is cut off.
    orders = {
        host: replace(order, id=secrets.token_hex(8), reply_to=new_reply_stream(queue.keys))
        for host in hosts
    }
    client = connect(url, blocks_s=BLOCK_S, name="crewpool-ctl", key=queue.keys.messages_to_all)
    try:
        await _send(queue, orders)
        heard = await _replies(client, orders, timeout_s)
    finally:
        await client.aclose()
    return [heard.get(host) or Heard(host) for host in hosts]


async def _send(queue: Queue, orders: dict[str, Order]) -> None:
    pipeline = queue.client.pipeline(transaction=False)
    for host, order in orders.items():
        stream, fields = queue.keys.messages_to(host), order.fields()
        pipeline.xadd(stream, dict[Any, Any](fields), maxlen=MOST_MESSAGES, approximate=True)
        pipeline.expire(stream, MESSAGES_TTL_S)
    async with looking(queue.client, f"XADD {queue.keys.messages_to('HOST')}"):
        await pipeline.execute()


async def _replies(client: Redis, orders: dict[str, Order], timeout_s: float) -> dict[str, Heard]:
    began = time.monotonic()
    waiting = {order.reply_to: host for host, order in orders.items()}
    heard: dict[str, Heard] = {}
    while waiting and (left_s := began + timeout_s - time.monotonic()) > 0:
        block_ms = max(1, int(min(left_s, BLOCK_S) * 1000))
        async with looking(client, "XREAD of replies"):
            answer = await client.xread(dict.fromkeys(waiting, FIRST), block=block_ms)
        for stream, entries in pages_of(answer):
            host = waiting.pop(stream)
            replies = filter(None, (reply_of(fields) for _, fields in entries))
            reply = next((r for r in replies if r.id == orders[host].id), None)
            heard[host] = Heard(host, reply, time.monotonic() - began)
    return heard
