"""Server-sent events of one run to one client (https://html.spec.whatwg.org, section 9.2).

`progress` whenever there is some, `result` once, then `end`. A comment every 15 s keeps proxies
from hanging up. A client that takes nothing for a while is cut off: it may come back, and say
by Last-Event-ID what it has seen.
"""

import asyncio
from contextlib import suppress

from aiohttp import web

from supervisor.gateway.answers import cut_off, end, hold_little, no_room, write
from supervisor.gateway.channels import END, RESULT, Channel
from supervisor.gateway.hub import Hub
from supervisor.gateway.runs import Runs
from supervisor.log import Log
from supervisor.observe.gateway import GatewayMetrics

HEARTBEAT_S = 15.0
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    # nginx would gather events until its buffer is full.
    "X-Accel-Buffering": "no",
}


class Telling:
    """Tells clients of runs."""

    def __init__(self, hub: Hub, runs: Runs, metrics: GatewayMetrics, log: Log) -> None:
        self._hub = hub
        self._runs = runs
        self._metrics = metrics
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
            if not channel.tell_run(await self._runs.get(run_id)):
                raise no_room()
            response = web.StreamResponse(headers=HEADERS)
            hold_little(request)
            await response.prepare(request)
            try:
                await self._tell_all(response, channel, news, seen)
                await end(response)
            except TimeoutError:
                cut_off(request, self._metrics, self._log)
        return response

    async def _tell_all(
        self, response: web.StreamResponse, channel: Channel, news: asyncio.Event, seen: str
    ) -> None:
        while True:
            # First: what comes while we write is news again.
            news.clear()
            if channel.result is not None:
                if seen != RESULT:
                    await write(response, channel.result.data)
                break
            if channel.progress is not None and channel.progress.id != seen:
                seen = channel.progress.id
                await write(response, channel.progress.data)
                continue
            if channel.is_closing or channel.is_lost:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            if not news.is_set():
                await write(response, b":\n\n")
        await write(response, channel.last_frame())
