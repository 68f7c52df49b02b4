"""`crewpool hosts`: every supervisor on this Redis in a line, from their heartbeats."""

import time
from collections.abc import Mapping
from typing import Any

import typer
from rich.table import Table

from supervisor.addresses import without_password
from supervisor.cli import render, wording
from supervisor.cli.options import AsJson, with_queue
from supervisor.configuration import load
from supervisor.settings import Settings
from supervisor.streams import inspect

# A supervisor that was killed and replaced is news for a day, not for ever.
REMEMBERED_S = 86_400.0
DEAD = "dead"
DRAINING = "draining"
ALIVE = "alive"
_STYLES = {DEAD: "red", DRAINING: "yellow"}

HELP = """Show all supervisors on this Redis, and which of them are alive.

A supervisor says so every few seconds (CREWPOOL_HEARTBEAT_EVERY_S). One that is silent for
three times as long, without having said goodbye, is shown as dead, for a day.

\b
Examples:
  crewpool hosts
  crewpool hosts --json | jq -r '.[] | select(.state == "dead") | .host'
\b
Redis: REDIS_URL (see crewpool config show).
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def hosts(*, as_json: AsJson = False) -> None:
    """Show all supervisors."""
    settings = load()
    found = seen(settings)
    if as_json:
        render.answer_json([_as_data(host) for host in found])
        return
    if found:
        render.show(_table(found))
    talk_if_none_lives(found, settings)


def seen(settings: Settings) -> list[inspect.HostSeen]:
    """Return the supervisors of the last day, the newest heartbeat first."""
    return with_queue(lambda queue: inspect.hosts(queue, oldest()), settings)


def oldest() -> float:
    """Return since when a supervisor must have been seen to be listed at all."""
    return time.time() - REMEMBERED_S


def state_of(host: inspect.HostSeen) -> str:
    """Say how a supervisor is: alive, draining or dead."""
    if host.snapshot is None:
        return DEAD
    return DRAINING if host.snapshot.get("phase") in ("draining", "stopping") else ALIVE


def phase_of(facts: Mapping[str, Any]) -> str:
    """Say what a living supervisor is at, and why it is paused."""
    return ": ".join(str(part) for part in (facts.get("phase"), facts.get("because")) if part)


def talk_if_none_lives(found: list[inspect.HostSeen], settings: Settings) -> None:
    """Say so, and what to do."""
    if not any(host.snapshot for host in found):
        where = without_password(settings.redis_url.get_secret_value())
        render.talk(f"No supervisor is alive on {where}. Next: crewpool up, or crewpool run")


def _as_data(host: inspect.HostSeen) -> dict[str, Any]:
    facts = {key: value for key, value in (host.snapshot or {}).items() if key != "workers"}
    return {**facts, "host": host.host, "state": state_of(host), "last_beat_at": host.beat_at}


def _table(found: list[inspect.HostSeen]) -> Table:
    table = render.table(
        *("HOST", "STATE", "BUSY", "PHASE", "VERSION", "SERVER", "PID", "UP", "LAST BEAT"),
        right=("BUSY", "PID"),
        cut=("PHASE", "VERSION", "SERVER"),
    )
    now = time.time()
    for host in found:
        facts, state = host.snapshot or {}, state_of(host)
        is_known = host.snapshot is not None
        slots = f"{wording.number(facts, 'busy'):.0f}/{wording.number(facts, 'slots'):.0f}"
        up = render.seconds(now - wording.number(facts, "started_at"))
        table.add_row(
            render.clean(host.host),
            render.styled(state, _STYLES.get(state, "")),
            slots if is_known else "",
            render.one_line(phase_of(facts)),
            render.one_line(str(facts.get("version") or "")),
            render.one_line(str(facts.get("server") or "")),
            render.clean(str(facts.get("pid") or "")),
            up if is_known else "",
            f"{render.seconds(now - host.beat_at)} ago",
        )
    return table
