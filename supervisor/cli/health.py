"""`crewpool health`: the health check of a container, by exit code.

Runs every few seconds, so it imports as little as it can and asks once.
"""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from supervisor.cli import render
from supervisor.cli.failures import CommandFailed, UsageWrong
from supervisor.configuration import load
from supervisor.settings import Settings

TIMEOUT_S = 3.0
# An address to listen on is not always one to connect to.
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound

HELP = """Ask the supervisor on this machine whether it is ready, or alive with --live.

\b
ready  Redis answers and a worker has booted: runs are taken
live   its loop makes progress; a supervisor without Redis is alive and not ready
\b
Examples:
  crewpool health
  crewpool health --live
  crewpool health --url http://10.0.0.7:8000
  crewpool health --url http://127.0.0.1:8001           crewpool results consume
  HEALTHCHECK CMD ["crewpool", "health", "--live"]      in a Dockerfile
\b
Asks CREWPOOL_HTTP_HOST (default 127.0.0.1), CREWPOOL_HTTP_PORT (default 8000) for 3 s.
Exit codes: 0 yes, 1 no or no answer.
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def health(
    *,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Another program of ours, http://host:port.")
    ] = "",
    live: Annotated[bool, typer.Option("--live", help="Alive instead of ready.")] = False,
) -> None:
    """Ask once."""
    path = "/health/live" if live else "/health/ready"
    where = _with_path(url or _own_url(load()), path)
    status, body = _ask(where)
    if status == 200:
        render.answer(str(body.get("status", "ok")))
        return
    told = f"{where} says {body.get('status', status)}: {body.get('error', 'no reason given')}"
    raise CommandFailed(told, "the supervisor's log, or crewpool doctor")


def answers(host: str, port: int) -> bool:
    """Whether a program of ours answers there."""
    try:
        _, body = _ask(_with_path(_url_of(host, port), "/health/live"))
    except CommandFailed:
        return False
    return body.get("status") in ("alive", "stalled")


def _own_url(settings: Settings) -> str:
    if settings.http_port == 0:
        told = "CREWPOOL_HTTP_PORT=0 takes any free port: its number stands in the supervisor's log"
        raise UsageWrong(told, "crewpool health --url http://127.0.0.1:PORT")
    return _url_of(settings.http_host, settings.http_port)


def _url_of(host: str, port: int) -> str:
    host = ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _with_path(url: str, path: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageWrong(f"--url {url} is no http:// address", "crewpool health --help")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{path}"


def _ask(url: str) -> tuple[int, dict[str, Any]]:
    # A container's proxy is for the world outside, never for this.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return answer.status, _body(answer.read(65536))
    except urllib.error.HTTPError as error:
        return error.code, _body(error.read(65536))
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise CommandFailed(
            f"Nobody answers on {url}: {reason}", "crewpool up, crewpool run, or crewpool doctor"
        ) from None


def _body(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
