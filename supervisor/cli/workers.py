"""`crewpool workers`: what every slot of every supervisor is doing, from their heartbeats."""

import time
from typing import Any

import typer
from rich.table import Table

from supervisor.cli import hosts, render, wording
from supervisor.cli.options import AsJson
from supervisor.configuration import load
from supervisor.streams import inspect

HELP = """Show what the workers of all supervisors on this Redis are doing.

Supervisors tell it in a heartbeat every few seconds (CREWPOOL_HEARTBEAT_EVERY_S). One that
is silent for three times as long, without having said goodbye, is shown as dead, for a day.

\b
Examples:
  crewpool workers
  crewpool workers --json | jq '.[].workers[] | select(.state == "busy") | .run'
\b
Redis: REDIS_URL (see crewpool config show).
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def workers(*, as_json: AsJson = False) -> None:
    """Show all slots."""
    settings = load()
    seen = hosts.seen(settings)
    if as_json:
        render.answer_json([_as_data(host) for host in seen])
        return
    for host in seen:
        _show(host)
    hosts.talk_if_none_lives(seen, settings)


def _as_data(host: inspect.HostSeen) -> dict[str, Any]:
    facts = host.snapshot or {"workers": []}
    return {
        **facts,
        "host": host.host,
        "state": hosts.state_of(host),
        "last_beat_at": host.beat_at,
    }


def _show(host: inspect.HostSeen) -> None:
    if host.snapshot is None:
        ago = render.seconds(time.time() - host.beat_at)
        render.answer(f"{host.host}  dead, last seen {ago} ago", "red")
        render.answer()
        return
    facts = host.snapshot
    slots = facts.get("workers") or []
    busy = sum(slot.get("state") == "busy" for slot in slots)
    up = render.seconds(time.time() - wording.number(facts, "started_at"))
    title = f"{host.host}  {hosts.phase_of(facts)}, {busy} of {len(slots)} busy"
    render.answer(f"{title}, pid {facts.get('pid')}, {facts.get('version')}, up {up}", "bold")
    for plugin, reason in sorted((facts.get("reload_failed") or {}).items()):
        told = f"reload failed, the old code stays: {plugin}{': ' if plugin else ''}{reason}"
        render.answer(" ".join(render.clean(told).split()), "yellow")
    for plugin, reason in sorted((facts.get("import_failed") or {}).items()):
        told = f"plugin {plugin} is not imported: {reason}"
        render.answer(" ".join(render.clean(told).split()), "yellow")
    if told := wording.memory(facts):
        told = f"takes no run now, for want of memory: {told}"
        render.answer(" ".join(render.clean(told).split()), "yellow")
    render.show(_slots(slots))
    render.answer()


def _slots(slots: list[dict[str, Any]]) -> Table:
    figures = ("PID", "SECONDS", "CPU", "MEMORY", "RUNS")
    table = render.table(
        *("SLOT", "STATE", "PID", "RUN", "PLUGIN", "PHASE", "SECONDS", "CPU", "MEMORY", "RUNS"),
        right=figures,
        cut=("RUN", "PLUGIN", "PHASE"),
    )
    for slot in slots:
        seconds = ""
        if slot.get("run"):
            limit = wording.number(slot, "timeout_s")
            seconds = f"{wording.number(slot, 'seconds'):.0f} of {limit:g}"
        table.add_row(
            f"s{slot.get('slot')}",
            str(slot.get("state")),
            str(slot.get("pid") or ""),
            render.one_line(str(slot.get("run") or "")),
            render.one_line(str(slot.get("plugin") or "")),
            render.one_line(wording.phase(slot)),
            seconds,
            f"{wording.number(slot, 'cpu_percent'):.0f}%",
            render.size(wording.number(slot, "rss_bytes")),
            str(slot.get("runs", 0)),
        )
    return table
