"""Hands answers to their clients: in parts, in time, and so many bytes of large ones at once.

An answer is held until its client has taken it. Who takes nothing, or very slowly, would
otherwise hold the output of a run in our memory for as long as it likes, on each connection.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from supervisor.gateway.problems import BUSY_RETRY_S, Refusal
from supervisor.log import Log
from supervisor.observe.gateway import GatewayMetrics

# For how long one part may wait for room at the client, and all parts together.
PATIENCE_S = 20.0
WHOLE_S = 120.0
PART_BYTES = 65_536
# What the kernel holds for a client; by itself it would take some megabytes for a slow one.
SEND_BUFFER_BYTES = 65_536
# Smaller ones are not counted: connections bound them.
LARGE_BYTES = 65_536
MOST_HELD_BYTES = 67_108_864


class Room:
    """How many bytes of large texts are held at a time."""

    def __init__(self, most_bytes: int = MOST_HELD_BYTES) -> None:
        self.held_bytes = 0
        self._most_bytes = most_bytes

    def take(self, size_bytes: int) -> bool:
        """Take room, to be given back, and return whether there was any. One always fits."""
        if size_bytes <= LARGE_BYTES:
            return True
        if self.held_bytes and self.held_bytes + size_bytes > self._most_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """Give back what was taken for a text of this size."""
        if size_bytes > LARGE_BYTES:
            self.held_bytes -= size_bytes

    @contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Have room for a while. Raises Refusal where there is none."""
        if not self.take(size_bytes):
            raise no_room()
        try:
            yield
        finally:
            self.give_back(size_bytes)


class Answers:
    """Sends answers. `room` is for those that are large."""

    def __init__(self, room: Room, metrics: GatewayMetrics, log: Log) -> None:
        self.room = room
        self._metrics = metrics
        self._log = log

    async def send(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        """Send an answer, or that there is no room for it. Returns when the client has it.

        Cuts off a client that takes nothing for a while. Raises ConnectionError for one that
        has gone.
        """
        size_bytes = len(answer.body) if isinstance(answer.body, bytes) else 0
        try:
            with self.room.taken(size_bytes):
                return await self._sent(request, answer)
        except Refusal as refusal:
            self._metrics.refused(refusal.kind)
            return await self._sent(request, refusal.response())

    async def _sent(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        try:
            if not isinstance(answer.body, bytes) or len(answer.body) <= PART_BYTES:
                await answer.prepare(request)
                await end(answer)
                return answer
            return await _in_parts(request, answer, answer.body)
        except TimeoutError:
            cut_off(request, self._metrics, self._log)
            return answer


def no_room() -> Refusal:
    """Return what is said to whom there is no room for."""
    told = "Other clients have yet to take, or to send, as much as is held at a time: ask again."
    return Refusal("busy", told, retry_s=BUSY_RETRY_S, headers={"Connection": "close"})


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Write in parts. Raises TimeoutError for a client that does not take them in time."""
    whole = memoryview(data)
    async with asyncio.timeout(WHOLE_S):
        for start in range(0, len(data), PART_BYTES):
            async with asyncio.timeout(PATIENCE_S):
                await response.write(whole[start : start + PART_BYTES])


async def end(response: web.StreamResponse) -> None:
    """Write the rest. Raises TimeoutError for a client that does not take it in time."""
    async with asyncio.timeout(PATIENCE_S):
        await response.write_eof()


def cut_off(request: web.Request, metrics: GatewayMetrics, log: Log) -> None:
    """Hang up on a client that does not take what it asked for."""
    metrics.refused("not_taken")
    log.info("gateway_reader_dropped", run=request.match_info.get("run_id"), after_s=PATIENCE_S)
    if request.transport is not None:
        request.transport.abort()


def hold_little(request: web.Request) -> None:
    """Let the kernel hold little for a client who may get much."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


async def _in_parts(request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(body)
    hold_little(request)
    await response.prepare(request)
    await write(response, body)
    await end(response)
    return response
