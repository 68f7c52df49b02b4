"""`crewpool results`: what an application leaves running beside its run records."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated

import typer

from supervisor import __version__
from supervisor.addresses import without_password
from supervisor.cli.preflight import redis_url_trouble
from supervisor.configuration import load
from supervisor.errors import SettingsWrong
from supervisor.listening import listen
from supervisor.log import Log, to_stderr
from supervisor.observe.http import HttpServer
from supervisor.observe.records import RecordsMetrics
from supervisor.runs.consumer import Counts
from supervisor.runs.consumer import consume as take_in
from supervisor.runs.dispatch import Dispatcher
from supervisor.runs.errors import RecordsAway
from supervisor.runs.records import open_schedules
from supervisor.runs.vitals import CountedStore, Runner, Vitals
from supervisor.settings import Settings
from worker.system import forbid_inspection

CONSUME = """Take results into the run records, publish what waits in the outbox, and fire
schedules that are due, until TERM or INT.

Any number may run, on any host: they share the load, and take over from each other. Waits for
Redis and for the database when they are not there. Logs to stderr. Probes and metrics are served
on 127.0.0.1:8001 (CREWPOOL_HTTP_HOST, CREWPOOL_RECORDS_HTTP_PORT).

\b
Examples:
  crewpool results consume
  CREWPOOL_RECORDS_URL=postgresql://app@db/app crewpool results consume
\b
Exit codes:
  0    told to stop; what was in hand is finished
  1    the tables are of another version: crewpool db upgrade
  2    bad settings, or no database is named
  70   a bug in crewpool
\b
Redis: REDIS_URL, CREWPOOL_RESULTS_STREAM, CREWPOOL_RESULTS_GROUP. Database:
CREWPOOL_RECORDS_URL (see crewpool config show).
"""

app = typer.Typer(
    help="Take results in, publish what waits, and fire schedules.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.callback()
def _results() -> None:
    """Keep `consume` a command of its own."""


@app.command("consume", help=CONSUME, short_help="Take them in until told to stop.")
def consume(
    *,
    listening: Annotated[
        int | None,
        typer.Option(metavar="FD", hidden=True, help="Probes on this open file, which listens."),
    ] = None,
) -> None:
    """Be the application's side."""
    # Beside a supervisor crews may be the same user, and our environment is not for them (P5).
    forbid_inspection()
    settings = load()
    if trouble := redis_url_trouble(settings):
        raise SettingsWrong([str(trouble)])
    with Dispatcher.of(settings) as dispatcher, _probes(settings, listening) as probes:
        # One that is away may come back by itself, other tables do not.
        with suppress(RecordsAway):
            dispatcher.store.counts()
        to_stderr(settings.log_level)
        log = Log("crewpool.results")
        host, port = probes.getsockname()[:2]
        log.info(
            "taking_results",
            version=__version__,
            pid=os.getpid(),
            redis=without_password(settings.redis_address),
            records=dispatcher.store.where,
            http=f"{host}:{port}",
        )
        with _scheduling(settings, dispatcher) as vitals:
            counts = asyncio.run(_serve(settings, dispatcher, vitals, probes))
        log.info("results_stopped", handled=counts.handled, unknown=counts.unknown)


def _probes(settings: Settings, listening: int | None) -> socket.socket:
    if listening is not None:
        return socket.socket(fileno=listening)
    return listen(settings, "http_host", "records_http_port")


async def _serve(
    settings: Settings, dispatcher: Dispatcher, vitals: Vitals, probes: socket.socket
) -> Counts:
    """Take results in until told to stop, and tell whoever asks how that goes."""
    server = HttpServer()
    await server.start_on(vitals, probes)
    looking = asyncio.create_task(vitals.look_for_ever())
    try:
        return await _until_told(settings, dispatcher, vitals)
    finally:
        looking.cancel()
        await server.stop()


async def _until_told(settings: Settings, dispatcher: Dispatcher, vitals: Vitals) -> Counts:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def leave(number: int) -> None:
        stop.set()
        # Nothing is lost by dying at any moment: who asks twice shall not have to wait.
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave, number)
    store = CountedStore(dispatcher.store, vitals.metrics)
    return await take_in(None, store, stop, settings, vitals)


@contextmanager
def _scheduling(settings: Settings, dispatcher: Dispatcher) -> Iterator[Vitals]:
    """Fire schedules in a thread meanwhile, and see how that and all else goes."""
    # Of the extra `records`, which is there: the dispatcher is open.
    from supervisor.runs.backlog import backlog_of  # noqa: PLC0415
    from supervisor.runs.scheduler import Scheduler  # noqa: PLC0415

    metrics = RecordsMetrics()
    schedules = open_schedules(settings, dispatcher.store)
    scheduler = Scheduler(schedules, dispatcher, observer=metrics)
    runners: dict[str, Runner] = {"the schedules": scheduler, "the outbox": dispatcher.relay}
    stop = threading.Event()
    thread = threading.Thread(
        target=scheduler.run_for_ever, args=(stop,), name="crewpool-schedules", daemon=True
    )
    thread.start()
    try:
        yield Vitals(metrics, partial(backlog_of, dispatcher.store), runners)
    finally:
        stop.set()
        thread.join()
