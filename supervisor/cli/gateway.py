"""`crewpool gateway`: the HTTP intake, for applications that cannot speak Redis."""

import asyncio
import socket
from typing import Annotated

import typer

from supervisor.cli.preflight import redis_url_trouble
from supervisor.configuration import load
from supervisor.errors import SettingsWrong
from supervisor.gateway.server import check, listen, listen_for_probes, serve
from supervisor.log import to_stderr
from worker.system import forbid_inspection

HELP = """Serve runs over HTTP: ask for one, look at it, follow it, cancel it.

Listens on 127.0.0.1:8080 (CREWPOOL_GATEWAY_HOST, CREWPOOL_GATEWAY_PORT), for this machine only;
with CREWPOOL_GATEWAY_TOKEN_FILE, a file with one token a line, for whoever has one of them. It
speaks no TLS: put a proxy before it. With CREWPOOL_RECORDS_URL runs are recorded first, and
accepted while Redis is away.

\b
Examples:
  crewpool gateway
  CREWPOOL_GATEWAY_TOKEN_FILE=tokens CREWPOOL_GATEWAY_HOST=0.0.0.0 crewpool gateway
\b
From another terminal:
  curl http://127.0.0.1:8080/v1/runs --json '{"plugin_name": "hello", "user_id": 7}'
  curl http://127.0.0.1:8080/v1/runs/RUN
  curl -N http://127.0.0.1:8080/v1/runs/RUN/events
  curl -X POST http://127.0.0.1:8080/v1/runs/RUN/cancel
  curl http://127.0.0.1:8080/openapi.json
\b
Metrics are served where the supervisor has them, on port 8002 (CREWPOOL_GATEWAY_HTTP_PORT).

TERM and INT end it: what is being answered is answered, who follows a run is sent away.

\b
Exit codes:
  0   ended by a signal
  2   bad settings
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def gateway(
    *,
    listening: Annotated[
        int | None,
        typer.Option(metavar="FD", hidden=True, help="Serve on this open file, which listens."),
    ] = None,
) -> None:
    """Be the gateway."""
    # Beside a supervisor crews may be the same user, and our environment is not for them (P5).
    forbid_inspection()
    settings = load()
    if trouble := redis_url_trouble(settings):
        raise SettingsWrong([str(trouble)])
    check(settings)
    to_stderr(settings.log_level)
    with (
        listen(settings) if listening is None else socket.socket(fileno=listening) as ours,
        listen_for_probes(settings) as probes,
    ):
        asyncio.run(serve(settings, ours, probes))
