"""Probes and metrics over HTTP, in the loop of the program that they are about.

Paths and bodies are part of the wire contract. Nothing here changes anything.
"""

import asyncio
import socket
from typing import Any, Protocol

from aiohttp import web

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LEAVE_S = 1.0
# Longer than the pause between two scrapes.
SILENT_S = 75.0
# Probes and scrapes need a few. Files are scarce: who holds more keeps us from Redis and workers.
MOST_CONNECTIONS = 64


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
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, health: Health, host: str, port: int) -> None:
        """Listen. Port 0 takes a free one. Raises OSError when it is taken."""
        await self._serve(health, host=host, port=port)

    async def start_on(self, health: Health, listening: socket.socket) -> None:
        """Serve on a socket that listens, and close it at the end."""
        await self._serve(health, sock=listening)

    async def _serve(self, health: Health, **where: Any) -> None:
        self._health = health
        app = web.Application(client_max_size=1024)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            keepalive_timeout=SILENT_S,
            shutdown_timeout=LEAVE_S,
        )
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(self._protocol, **where)
        self.port = self._server.sockets[0].getsockname()[1]

    def _protocol(self) -> asyncio.Protocol:
        """Take a connection in, at the cost of the oldest one where there are too many."""
        assert self._runner is not None  # noqa: S101  # it was set up before we listened
        assert self._runner.server is not None  # noqa: S101
        transports = (held.transport for held in self._runner.server.connections)
        held = [transport for transport in transports if transport and not transport.is_closing()]
        for oldest in held[: max(0, len(held) + 1 - MOST_CONNECTIONS)]:
            oldest.abort()
        return self._runner.server()

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
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
