"""Probes and metrics over HTTP, in the loop of the program that they are about.

Paths and bodies are part of the wire contract. Nothing here changes anything.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from aiohttp import web

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LEAVE_S = 1.0


class Health(Protocol):
    """What the probes ask the program."""

    def stalled_because(self) -> str:
        """Who makes no progress any more; "" when all do."""

    def not_ready_because(self) -> str:
        """Why no run would be taken now; "" when one would."""

    def exposition(self) -> bytes:
        """All metrics as text."""


class HttpServer:
    """Serves /health/live, /health/ready and /metrics."""

    _health: Health

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, health: Health, host: str, port: int) -> None:
        """Listen. Port 0 takes a free one. Raises OSError when it is taken."""
        await self._set_up(health, lambda on: web.TCPSite(on, host, port, shutdown_timeout=LEAVE_S))

    async def start_on(self, health: Health, listening: socket.socket) -> None:
        """Serve on a socket that listens, and close it at the end."""
        await self._set_up(health, lambda on: web.SockSite(on, listening, shutdown_timeout=LEAVE_S))

    async def _set_up(
        self, health: Health, site_of: Callable[[web.AppRunner], web.BaseSite]
    ) -> None:
        self._health = health
        app = web.Application(client_max_size=1024)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None)
        await self._runner.setup()
        await site_of(self._runner).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _request: web.Request) -> web.Response:
        if error := self._health.stalled_because():
            return web.json_response({"status": "stalled", "error": error}, status=503)
        return web.json_response({"status": "alive"})

    async def _ready(self, _request: web.Request) -> web.Response:
        if because := self._health.not_ready_because():
            return web.json_response({"status": "not_ready", "error": because}, status=503)
        return web.json_response({"status": "ready", "redis": "connected"})

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._health.exposition(), headers={"Content-Type": CONTENT_TYPE})
