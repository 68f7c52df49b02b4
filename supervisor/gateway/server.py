"""Listens, and puts the parts together; the only place that knows them all.

Connections are bounded, and each must send a whole head within a time: who opens many and says
little (slowloris) takes no place from others for long.
"""

import asyncio
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from aiohttp import web

from supervisor import listening as listens
from supervisor.configuration import variable_of
from supervisor.errors import SettingsWrong
from supervisor.gateway.answers import Answers, Room
from supervisor.gateway.api import Api
from supervisor.gateway.connections import Connection, Full, forget_untaken
from supervisor.gateway.events import Telling
from supervisor.gateway.hub import Hub
from supervisor.gateway.intake import Intake, Recorded, Straight
from supervisor.gateway.operations import OPERATIONS, OTHER
from supervisor.gateway.origins import is_loopback
from supervisor.gateway.problems import KINDS
from supervisor.gateway.readiness import Readiness
from supervisor.gateway.runs import Runs
from supervisor.gateway.tokens import Tokens, TokensUnfit
from supervisor.gateway.turns import RECORDED, RECORDED_WAIT_S, THREADS, Turns
from supervisor.gateway.vitals import Vitals
from supervisor.log import Log
from supervisor.observe.gateway import GatewayMetrics
from supervisor.observe.http import HttpServer
from supervisor.runs.dispatch import Dispatcher
from supervisor.runs.publisher import AsyncPublisher
from supervisor.settings import Settings
from supervisor.streams.deployment import queue_of
from supervisor.streams.inspect import Results
from supervisor.streams.link import Link
from worker.plugins import Catalogue, discover

# For the head of a request, from the connection or the last answer on.
HEAD_S = 15.0
LEAVE_S = 5.0
BACKLOG = 512
BLOCK_S = 1.0
MOST_CONNECTIONS = 4096
# Of them, three of four may follow runs: whoever wants to ask for one comes through.
STREAMS_OF = (3, 4)
FILES_OF_OURS = 100


class Gateway:
    """The HTTP intake of one deployment. Raises SettingsWrong when it cannot be opened at all."""

    def __init__(self, settings: Settings, log: Log | None = None) -> None:
        self._settings = settings
        self._log = log or Log("crewpool.gateway")
        self._tokens = _tokens_of(settings, self._log)
        self.api: Api
        self.metrics = GatewayMetrics([*(part.name for part in OPERATIONS), OTHER], KINDS)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._hub: Hub | None = None
        self._probes = HttpServer()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self.most_connections = _most_connections()

    async def start(self, listening: socket.socket, probes: socket.socket | None = None) -> None:
        """Serve on a socket that listens, and metrics for operators on another."""
        self.api = self._wired()
        self._runner = web.AppRunner(
            self.api.application(),
            handle_signals=False,
            shutdown_timeout=LEAVE_S,
            # Who follows a run and hangs up is forgotten at once. A run that is being published
            # is published or not, as when its caller had hung up a moment later.
            handler_cancellation=True,
        )
        await self._runner.setup()
        assert self._hub is not None  # noqa: S101  # wired
        self._hub.start()
        forget_untaken(listening)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, "crewpool-gateway"))
        self._server = await loop.create_server(self._protocol, sock=listening, backlog=BACKLOG)
        if probes is not None:
            await self._probes.start_on(Vitals(self.api.readiness, self.metrics), probes)
            self.api.readiness.because()
        self._log.info(
            "gateway_started",
            http=_address_of(listening),
            probes=_address_of(probes) if probes else None,
            tokens=len(self._tokens) if self._tokens else None,
            records=bool(self._settings.records_url.get_secret_value()),
            connections=self.most_connections,
        )

    async def stop(self) -> None:
        """Take no more, let the requests that are on come to their end, tell followers to leave."""
        if self._server is not None:
            self._server.close()
        if self._hub is not None:
            self._hub.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._hub is not None:
            await self._hub.stop()
        await self._probes.stop()
        for close in reversed(self._closers):
            await close()
        self._log.info("gateway_left")

    @property
    def connections(self) -> int:
        """How many are open."""
        server = self._runner.server if self._runner else None
        return len(server.connections) if server else 0

    def _wired(self) -> Api:
        settings, log = self._settings, self._log
        queue = queue_of(settings)
        link = Link(time.monotonic, lambda: None, log)
        dispatcher = Dispatcher.of(settings) if settings.records_url.get_secret_value() else None
        recorded = Turns(RECORDED, RECORDED_WAIT_S)
        intake: Intake
        if dispatcher is not None:
            dispatcher.start()
            intake = Recorded(dispatcher, recorded)
        else:
            publisher = AsyncPublisher(settings=settings)
            intake = Straight(publisher, queue, settings.max_payload_bytes)
        runs = Runs(queue, dispatcher.store if dispatcher else None, recorded)
        results = Results(settings.redis_address, settings.results_stream, BLOCK_S)
        room = Room()
        hub = self._hub = Hub(queue, results, runs, link, room, log)
        self._closers = [queue.close, intake.close]
        self.metrics.show(
            streams=lambda: hub.clients,
            connections=lambda: self.connections,
            held_bytes=lambda: room.held_bytes,
        )
        return Api(
            intake=intake,
            asking=Room(),
            answers=Answers(room, self.metrics, log),
            metrics=self.metrics,
            runs=runs,
            telling=Telling(hub, runs, self.metrics, log),
            readiness=Readiness(queue, link, log, has_records=dispatcher is not None),
            tokens=self._tokens,
            plugins=_plugins_of(settings),
            max_payload_bytes=settings.max_payload_bytes,
            most_streams=self.most_connections * STREAMS_OF[0] // STREAMS_OF[1],
            log=log,
        )

    def _protocol(self) -> asyncio.Protocol:
        if self.connections >= self.most_connections:
            self.metrics.refused("no_room")
            return Full()
        assert self._runner is not None  # noqa: S101  # it was set up before we listened
        assert self._runner.server is not None  # noqa: S101
        return Connection(
            self._runner.server,
            self.metrics.refused,
            self._log,
            loop=asyncio.get_running_loop(),
            access_log=None,
            keepalive_timeout=HEAD_S,
            lingering_time=1.0,
            auto_decompress=False,
        )


async def serve(settings: Settings, listening: socket.socket, probes: socket.socket) -> None:
    """Serve until TERM or INT. Raises SettingsWrong and what the records say of their settings."""
    leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave.set)
    gateway = Gateway(settings)
    try:
        await gateway.start(listening, probes)
        await leave.wait()
    finally:
        await gateway.stop()


def listen(settings: Settings) -> socket.socket:
    """Return a socket that listens where the settings say. Raises SettingsWrong."""
    return listens.listen(settings, "gateway_host", "gateway_port")


def listen_for_probes(settings: Settings) -> socket.socket:
    """Return a socket that listens where operators ask. Raises SettingsWrong."""
    return listens.listen(settings, "http_host", "gateway_http_port")


def check(settings: Settings) -> None:
    """Raise SettingsWrong for what can be known to be wrong before it starts."""
    _tokens_of(settings, Log("crewpool.gateway"))


def _address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"{host}:{port}"


def _tokens_of(settings: Settings, log: Log) -> Tokens | None:
    path = settings.gateway_token_file
    if path is None:
        if not is_loopback(settings.gateway_host):
            said = (
                f"{variable_of('gateway_host')}: others could come to {settings.gateway_host}, and "
                f"nobody would ask them for a token; name a file with tokens, one a line, in "
                f"{variable_of('gateway_token_file')}, or listen on 127.0.0.1"
            )
            raise SettingsWrong([said])
        return None
    try:
        return Tokens(path, log)
    except TokensUnfit as error:
        cure = "openssl rand -hex 32 makes one"
        raise SettingsWrong([f"{variable_of('gateway_token_file')}: {error}; {cure}"]) from None


def _plugins_of(settings: Settings) -> Catalogue | None:
    """Return the plugins that are known here, None where there is no folder with any."""
    found = discover(settings.plugin_dir)
    return found if found.plugins or found.broken else None


def _most_connections() -> int:
    """Return how many connections the limit of open files leaves room for, after raising it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + FILES_OF_OURS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(16, min(MOST_CONNECTIONS, soft - FILES_OF_OURS))
