"""`crewpool plugins`: what can be run here, what is broken, what is paused; nothing is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.table import Table

from supervisor.cli import failures, hosts, pausing, render
from supervisor.cli.options import AsJson, with_queue
from supervisor.cli.preflight import plugin_dir_trouble
from supervisor.configuration import load
from supervisor.errors import RedisAway, SettingsWrong
from supervisor.settings import Settings
from supervisor.streams import inspect
from supervisor.streams.inspect import Refused
from supervisor.streams.orders import PluginLoad, PluginState, plugin_loads, plugin_states
from supervisor.streams.queue import Queue
from supervisor.times import clock
from worker.plugins import Catalogue, Plugin, discover

HELP = """List the plugins of the plugin folder (PLUGIN_DIR, default: ./plugins).

Their files are read; none of their code is imported (crewpool doctor does that). Where Redis
answers, the list shows what holds for all hosts: whether a plugin runs, is paused, in
quarantine after crashes or probing with one run, how many of its runs are in hand and parked,
and on which hosts its import failed.

\b
Examples:
  crewpool plugins list
  PLUGIN_DIR=/srv/plugins crewpool plugins list --json
\b
Exit codes:
  0  all can be used
  1  at least one is broken
"""
RUNNING = "running"

app = typer.Typer(
    help="Look at the plugins, pause and resume them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
app.command("pause", help=pausing.PAUSE, short_help="Start no runs of one, on all hosts.")(
    pausing.pause
)
app.command("resume", help=pausing.RESUME, short_help="Let its runs start again.")(pausing.resume)


@dataclass(frozen=True)
class Seen:
    """What Redis knows of plugins; `trouble` says why that is nothing. `imports_failed` has
    reasons by plugin and host.
    """

    states: Mapping[str, PluginState] = field(default_factory=dict)
    loads: Mapping[str, PluginLoad] = field(default_factory=dict)
    imports_failed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trouble: str = ""

    def state(self, name: str) -> str:
        """Return the word for its state."""
        return self.states.get(name, PluginState()).state or RUNNING


@app.command("list", help=HELP, short_help="List them with their settings and states.")
def list_plugins(*, as_json: AsJson = False) -> None:
    """List them."""
    settings = load()
    if trouble := plugin_dir_trouble(settings):
        raise SettingsWrong([str(trouble)])
    found = discover(settings.plugin_dir)
    seen = _seen(settings)
    if as_json:
        render.answer_json(
            {
                "plugin_dir": str(settings.plugin_dir.resolve()),
                "plugins": [
                    {**_as_data(plugin, settings), **_live_data(plugin.name, seen)}
                    for plugin in found.plugins.values()
                ],
                "broken": dict(found.broken),
            }
        )
    else:
        _show(found, settings, seen)
    if seen.trouble:
        render.talk(f"Their states are not known: {seen.trouble}")
    raise typer.Exit(failures.FAILED if found.broken else 0)


async def _ask(queue: Queue) -> Seen:
    states, loads = await plugin_states(queue), await plugin_loads(queue)
    try:
        return Seen(states, loads, _imports_failed(await inspect.hosts(queue, hosts.oldest())))
    except Refused:  # who may publish need not see the hosts
        return Seen(states, loads)


def _imports_failed(seen: list[inspect.HostSeen]) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for host in seen:
        told = (host.snapshot or {}).get("import_failed")
        for name, reason in (told if isinstance(told, dict) else {}).items():
            found.setdefault(name, {})[host.host] = str(reason)
    return found


def _seen(settings: Settings) -> Seen:
    """Ask Redis; without it the list is what stands in the folder."""
    try:
        return with_queue(_ask, settings)
    except (RedisAway, Refused, SettingsWrong) as error:
        return Seen(trouble=str(error))


def _as_data(plugin: Plugin, settings: Settings) -> dict[str, Any]:
    manifest = plugin.manifest
    return {
        "name": plugin.name,
        "version": manifest.version,
        "description": manifest.description,
        "timeout_s": manifest.timeout_s or settings.crew_timeout_s,
        "settings": list(plugin.schema.get("properties", {})),
        "required": list(plugin.schema.get("required", [])),
        "path": str(plugin.path),
    }


def _live_data(name: str, seen: Seen) -> dict[str, Any]:
    """Return what Redis knows of one, None where nobody could be asked."""
    state, count = seen.states.get(name, PluginState()), seen.loads.get(name, PluginLoad())
    facts = {
        "state": seen.state(name),
        "since": state.since,
        "until": state.until,
        "by": state.by or None,
        "reason": state.reason or None,
        "crashes": len(state.crashes),
        "runs_in_hand": count.in_hand,
        "runs_parked": count.parked,
        "import_failed": seen.imports_failed.get(name, {}),
    }
    return dict.fromkeys(facts) if seen.trouble else facts


def _show(found: Catalogue, settings: Settings, seen: Seen) -> None:
    if not found.plugins and not found.broken:
        render.talk(f"No plugin stands in {settings.plugin_dir.resolve()}.")
    if found.plugins:
        render.show(_table(found, settings, seen))
    for name, reason in found.broken.items():
        render.talk(f"{name} is broken: {reason}", "red")
    for name in sorted(found.plugins.keys() & seen.imports_failed.keys()):
        for host, reason in sorted(seen.imports_failed[name].items()):
            told = " ".join(render.clean(f"{name} is not imported on {host}: {reason}").split())
            render.talk(told, "red")
    for name, state in seen.states.items():
        if state.state and name in found.plugins:
            render.talk(f"{name} is {_told(state)}", "yellow")
        elif state.state:
            render.talk(f"{name} is {_told(state)}, and does not stand in this folder", "yellow")


def _table(found: Catalogue, settings: Settings, seen: Seen) -> Table:
    live = () if seen.trouble else ("STATE", "RUNS", "PARKED")
    table = render.table(
        *("NAME", "VERSION", *live, "TIMEOUT", "SETTINGS", "DESCRIPTION"),
        right=("TIMEOUT", "RUNS", "PARKED"),
        fold=("SETTINGS", "DESCRIPTION"),
    )
    for plugin in found.plugins.values():
        facts = _as_data(plugin, settings)
        keys = [f"{k} (required)" if k in facts["required"] else k for k in facts["settings"]]
        count = seen.loads.get(plugin.name, PluginLoad())
        cells = (seen.state(plugin.name), str(count.in_hand), str(count.parked)) if live else ()
        table.add_row(
            facts["name"],
            render.clean(facts["version"]),
            *(render.clean(cell) for cell in cells),
            f"{facts['timeout_s']:g}s",
            render.clean(", ".join(keys)),
            render.clean(facts["description"]),
        )
    return table


def _told(state: PluginState) -> str:
    """Say all about a state that is not the usual one."""
    parts = [state.state]
    parts += [f"by {state.by}"] if state.by else []
    parts += [f"since {clock(state.since)}"] if state.since else []
    parts += [f"until {clock(state.until)}"] if state.until else []
    parts += [f"with run {state.probe}"] if state.probe else []
    crashes = len(state.crashes)
    parts += [f"after {crashes} crash{'es' if crashes > 1 else ''}"] if crashes else []
    return " ".join(parts) + (f": {state.reason}" if state.reason else "")
