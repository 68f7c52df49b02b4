"""One client's connection: aiohttp's, which says in our words what its parser refuses.

By itself aiohttp answers with text that quotes the request, credentials too, and names versions.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from aiohttp import web

from supervisor.gateway import problems
from supervisor.gateway.problems import Refusal
from supervisor.log import Log

# How long the kernel keeps what a client does not take, also after we have hung up.
UNTAKEN_S = 30.0
# What waits here for a client before it is waited for.
WAITING_BYTES = 16_384
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class Connection(web.RequestHandler):
    """`refused` is called with the kind of each refusal that no handler has a part in."""

    __slots__ = ("_log", "_refused")

    def __init__(
        self, server: web.Server, refused: Callable[[str], None], log: Log, **options: Any
    ) -> None:
        super().__init__(server, **options)
        self._refused = refused
        self._log = log

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=WAITING_BYTES)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what is no request, and hang up. Quotes nothing."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer was sent")
        if status < 500:  # it is the client's fault
            told = "It is no HTTP/1.1 request, or its head is too long."
            return self._of(Refusal("bad-request", told))
        self._log.error("gateway_failed", error=f"{type(exc).__name__}: {exc}"[:500])
        return self._of(Refusal("bug", "The log of the gateway says more."))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, in our words where it is one that aiohttp made beside the handlers."""
        if isinstance(resp, web.HTTPException):
            resp = self._of(problems.of_http(resp, 0))
        return await super().finish_response(request, resp, start_time)

    def _of(self, refusal: Refusal) -> web.Response:
        self._refused(refusal.kind)
        response = refusal.response()
        response.headers["Server"] = problems.SERVER
        response.force_close()
        return response


class Full(asyncio.Protocol):
    """Sends a client away whom there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and hang up."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # TCP has both ways
        transport.write(_FULL)
        transport.close()


def forget_untaken(listening: socket.socket) -> None:
    """Let connections that come in here end when their client takes nothing for a while.

    Also those that we have closed: what they have not taken yet would wait for ever.
    """
    untaken_ms = int(UNTAKEN_S * 1000)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, untaken_ms)
