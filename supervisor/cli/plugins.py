"""`crewpool plugins list`: what can be run here and what is broken; none of it is imported."""

from typing import Any

import typer

from supervisor.cli import failures, render
from supervisor.cli.options import AsJson
from supervisor.cli.preflight import plugin_dir_trouble
from supervisor.configuration import load
from supervisor.errors import SettingsWrong
from supervisor.settings import Settings
from worker.plugins import Catalogue, Plugin, discover

HELP = """List the plugins of the plugin folder (PLUGIN_DIR, default: ./plugins).

Their files are read; none of their code is imported (crewpool doctor does that).

\b
Examples:
  crewpool plugins list
  PLUGIN_DIR=/srv/plugins crewpool plugins list --json
\b
Exit codes:
  0  all can be used
  1  at least one is broken
"""

app = typer.Typer(
    help="Look at the plugins.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


@app.callback()
def _group() -> None:
    """Be a group of one, so that others can join."""


@app.command("list", help=HELP, short_help="List them with their settings.")
def list_plugins(*, as_json: AsJson = False) -> None:
    """List them."""
    settings = load()
    if trouble := plugin_dir_trouble(settings):
        raise SettingsWrong([str(trouble)])
    found = discover(settings.plugin_dir)
    if as_json:
        render.answer_json(
            {
                "plugin_dir": str(settings.plugin_dir.resolve()),
                "plugins": [_as_data(plugin, settings) for plugin in found.plugins.values()],
                "broken": dict(found.broken),
            }
        )
    else:
        _show(found, settings)
    raise typer.Exit(failures.FAILED if found.broken else 0)


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


def _show(found: Catalogue, settings: Settings) -> None:
    if not found.plugins and not found.broken:
        render.talk(f"No plugin stands in {settings.plugin_dir.resolve()}.")
    if found.plugins:
        table = render.table(
            *("NAME", "VERSION", "TIMEOUT", "SETTINGS", "DESCRIPTION"),
            right=("TIMEOUT",),
            fold=("SETTINGS", "DESCRIPTION"),
        )
        for plugin in found.plugins.values():
            facts = _as_data(plugin, settings)
            keys = [f"{k} (required)" if k in facts["required"] else k for k in facts["settings"]]
            table.add_row(
                facts["name"],
                render.clean(facts["version"]),
                f"{facts['timeout_s']:g}s",
                render.clean(", ".join(keys)),
                render.clean(facts["description"]),
            )
        render.show(table)
    for name, reason in found.broken.items():
        render.talk(f"{name} is broken: {reason}", "red")
