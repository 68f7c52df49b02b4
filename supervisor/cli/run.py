"""`crewpool run`: the supervisor, for production."""

import typer

from supervisor.cli.failures import run_exit_codes
from supervisor.cli.serving import serve
from supervisor.configuration import load

HELP = f"""Run a supervisor: take runs from Redis, one worker process a crew, one result a run.

Waits for Redis when it is not there. Logs to stderr. Probes and metrics are served on
127.0.0.1:8000 (CREWPOOL_HTTP_HOST, CREWPOOL_HTTP_PORT).

\b
Examples:
  crewpool run
  REDIS_URL=rediss://:secret@redis:6380/0 CREWPOOL_WORKERS=8 crewpool run
  CREWPOOL_CONFIG=/etc/crewpool.toml crewpool run
\b
Most used settings (crewpool config show lists all):
  REDIS_URL              redis://127.0.0.1:6379/0
  PLUGIN_DIR             plugins
  CREW_TIMEOUT_SECONDS   300   longest run of a crew
  CREWPOOL_WORKERS       2     crews at a time
  CREWPOOL_DRAIN_S       300   how long TERM lets crews finish
\b
Signals:
  TERM  take nothing more, let crews finish, hand back the rest; twice: now
  INT   stop now and hand back        HUP   reload the plugins
  QUIT  the same, stacks to the log   TTIN  a worker more, TTOU a worker less
  USR1  snapshot to the log
{run_exit_codes()}"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def run() -> None:
    """Be the supervisor."""
    raise typer.Exit(serve(load()))
