"""`crewpool up`: a supervisor on a machine without services or keys.

Starts a server of its own where none is named, and the offline model where no provider's
key is found, and stops what it started, however it ends.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from supervisor import __version__
from supervisor.addresses import without_password
from supervisor.cli import preflight, render
from supervisor.cli.beside import records_to_name, start_model, start_programs, start_server
from supervisor.cli.companions import DEFAULT_PORT
from supervisor.cli.failures import UsageWrong, run_exit_codes
from supervisor.cli.serving import serve
from supervisor.configuration import load, origins, variable_of
from supervisor.embedded.companions import Companions
from supervisor.settings import Settings
from worker.plugins import discover

HELP = f"""Run a supervisor on this machine, with what it needs: a Redis-compatible server of its
own, and the offline model if no provider's key is in the environment.

With REDIS_URL set (or redis_url in crewpool.toml) it uses that server instead. The offline
model is no language model: it answers by extracting from what a crew gives it.

\b
Examples:
  crewpool up
  crewpool up --data ./data                    keeps requests and results
  crewpool up --data ./data --records          and a record of each run
  crewpool up --gateway                        and runs over HTTP
  OPENAI_API_KEY=… crewpool up                 a real model
  CREWPOOL_WORKERS=4 crewpool up --redis-port 0
\b
Settings and signals are those of crewpool run; Ctrl-C stops now.
{run_exit_codes("1   the server, or another companion, did not start")}"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep the server's data here; default: nothing is kept."),
]
RedisPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        help=f"Port of the server; default: {DEFAULT_PORT} if it is free; 0: any.",
    ),
]
Records = Annotated[
    bool,
    typer.Option(
        "--records",
        help="Keep run records: CREWPOOL_RECORDS_URL, by default a SQLite file in DIR or here.",
    ),
]
Gateway = Annotated[
    bool, typer.Option("--gateway", help="Take runs in over HTTP: CREWPOOL_GATEWAY_PORT.")
]


@app.command(help=HELP)
def up(
    *,
    data: Data = None,
    redis_port: RedisPort = None,
    records: Records = False,
    gateway: Gateway = False,
) -> None:
    """Be the supervisor, among companions."""
    settings = load()
    origin_of = {row.name: row.origin for row in origins(settings)}
    origin = origin_of["redis_url"]
    if origin != "default" and (data is not None or redis_port is not None):
        told = f"--data and --redis-port are for a server of our own, but {_named(origin)}"
        raise UsageWrong(told, "the same without them, or without REDIS_URL")
    preflight.check(settings)
    leave = _Leave()
    signal.signal(signal.SIGTERM, leave)
    with Companions() as companions, _undisturbed_end():
        render.talk(f"crewpool {__version__}", "bold")
        if origin == "default":
            start_server(companions, data, redis_port)
        start_model(companions)
        start_programs(companions, data, records=records, gateway=gateway)
        if origin_of["watch_plugins"] == "default":
            # Who tries a plugin here is writing it.
            os.environ[variable_of("watch_plugins")] = "true"
        settings = load()
        _introduce(settings, origin, records_to_name(origin_of["records_url"]))
        leave.if_asked()
        code = serve(settings, companions)
    raise typer.Exit(code)


def _introduce(settings: Settings, origin: str, records: str) -> None:
    url = settings.redis_url.get_secret_value()
    if origin != "default":
        render.fact("Redis", f"{without_password(url)}  not our own: {_named(origin)}")
    found = discover(settings.plugin_dir)
    render.fact("Plugins", ", ".join(found.plugins) or f"none in {settings.plugin_dir.resolve()}")
    if settings.watch_plugins:
        render.fact("", "Their files are watched: what changes is loaded for the next runs.")
    for name, reason in found.broken.items():
        render.fact("", f"{name} is broken: {reason}")
    if settings.http_port:
        render.fact("Probes", f"http://{settings.http_host}:{settings.http_port}/health/ready")
    is_usual = url == Settings.model_fields["redis_url"].default.get_secret_value()
    where = "" if is_usual or origin != "default" else f"REDIS_URL={url} "
    render.talk()
    render.talk("In another terminal:")
    if found.plugins:
        name = "hello" if "hello" in found.plugins else next(iter(found.plugins))
        render.command(f"{where}{records}crewpool submit {name} --wait")
    render.command(f"{where}crewpool workers")
    render.talk("Ctrl-C stops at once and hands runs back; TERM lets them finish.")
    render.talk()


def _named(origin: str) -> str:
    return "REDIS_URL is set" if origin == "environment" else f"{origin} names redis_url"


class _Leave:
    """Ends us before the supervisor's own handlers stand; what was started is stopped.

    It remembers that it was asked: an exception that is raised inside a callback of the
    interpreter's, while a module is imported say, is printed there and goes no further.
    """

    def __init__(self) -> None:
        self._asked: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self._asked = number
        self.if_asked()

    def if_asked(self) -> None:
        """Leave, if somebody wanted it."""
        if self._asked is not None:
            sys.exit(128 + self._asked)


@contextmanager
def _undisturbed_end() -> Iterator[None]:
    """Let nothing disturb the stopping of companions, whatever ended us."""
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
