"""Server-sent events of one run to one client (https://html.spec.whatwg.org, section 9.2).

`progress` whenever there is some, `result` once, then `end`. A comment every 15 s keeps proxies
from hanging up. A client that takes nothing for a while is cut off: it may come back, and say
by Last-Event-ID what it has seen.
"""

import asyncio
import socket
from contextlib import suppress

from aiohttp import web

from supervisor.gateway.hub import END, RESULT, Channel, Hub
from supervisor.gateway.runs import Runs
from supervisor.log import Log

HEARTBEAT_S = 15.0
# For how long one part may wait for room. Parts bound what a connection holds.
PATIENCE_S = 20.0
PART_BYTES = 65_536
# What the kernel holds for a client; by itself it would take some megabytes for a slow one.
SEND_BUFFER_BYTES = 65_536
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # nginx would gather events until its buffer is full.
    "X-Accel-Buffering": "no",
}


class Telling:
    """Tells clients of runs."""

    def __init__(self, hub: Hub, runs: Runs, log: Log) -> None:
        self._hub = hub
        self._runs = runs
        self._log = log

    @property
    def clients(self) -> int:
        """How many are told at the moment."""
        return self._hub.clients

    async def tell(self, request: web.Request, run_id: str) -> web.StreamResponse:
        """Tell until the run has ended, the client has left, or we leave. Raises as Runs.get."""
        seen = request.headers.get("Last-Event-ID", "")
        if seen == END:
            # What makes an EventSource stop coming back.
            return web.Response(status=204)
        with self._hub.watching(run_id) as (channel, news):
            channel.tell_run(await self._runs.get(run_id))
            response = web.StreamResponse(headers=HEADERS)
            _hold_little(request.transport)
            await response.prepare(request)
            try:
                await self._tell_all(response, channel, news, seen)
            except TimeoutError:
                self._log.info("gateway_reader_dropped", run=run_id, after_s=PATIENCE_S)
                if request.transport is not None:
                    request.transport.abort()
        return response

    async def _tell_all(
        self, response: web.StreamResponse, channel: Channel, news: asyncio.Event, seen: str
    ) -> None:
        while True:
            # First: what comes while we write is news again.
            news.clear()
            if channel.result is not None:
                if seen != RESULT:
                    await self._write(response, channel.result.data)
                break
            if channel.progress is not None and channel.progress.id != seen:
                seen = channel.progress.id
                await self._write(response, channel.progress.data)
                continue
            if channel.is_closing:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            if not news.is_set():
                await self._write(response, b":\n\n")
        await self._write(response, channel.last_frame())

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        whole = memoryview(data)
        for start in range(0, len(data), PART_BYTES):
            async with asyncio.timeout(PATIENCE_S):
                await response.write(whole[start : start + PART_BYTES])


def _hold_little(transport: asyncio.Transport | None) -> None:
    connection = transport.get_extra_info("socket") if transport else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
