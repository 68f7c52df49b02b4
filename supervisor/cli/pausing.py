"""`crewpool plugins pause` and `resume`: a plugin's runs wait, or go on, on all hosts."""

import getpass
import os
from typing import Annotated

import typer

from supervisor.cli import render
from supervisor.cli.failures import CommandFailed, UsageWrong
from supervisor.cli.options import AsJson, with_queue
from supervisor.configuration import load
from supervisor.settings import Settings
from supervisor.streams.orders import PluginState, plugin_states, set_plugin_state
from supervisor.streams.queue import Queue
from worker.plugins import NAME

MOST_REASON = 300
PAUSED = "paused"
PAUSE = """Start no more runs of a plugin, on all hosts, until crewpool plugins resume.

Runs that are on go on. Those that come are parked and wait; other plugins' are not held up.

\b
Examples:
  crewpool plugins pause daily-news-digest --reason "the feeds are down"
"""
RESUME = """Let the runs of a plugin start again, on all hosts: after a pause, or a quarantine.

\b
Examples:
  crewpool plugins resume daily-news-digest
"""
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the plugin.")]


def pause(
    name: Name,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for those who wonder.")] = "",
    as_json: AsJson = False,
) -> None:
    """Pause it, unless it is."""
    if len(reason) > MOST_REASON:
        raise UsageWrong(
            f"--reason has {len(reason)} characters; at most {MOST_REASON} are kept",
            "crewpool plugins pause --help",
        )
    was = _change(name, "pause", reason, load())
    if as_json:
        render.answer_json({"plugin": name, "state": PAUSED, "was": was.state or "running"})
    elif was.state == PAUSED:
        by = f" by {was.by}" if was.by else ""
        render.answer(f"Plugin {name} is paused{by} already; nothing was changed.")
    else:
        added = f" It was {was.state}." if was.state else ""
        render.answer(f"Plugin {name} is paused: its runs wait.{added}")


def resume(name: Name, *, as_json: AsJson = False) -> None:
    """Resume it, unless it runs."""
    was = _change(name, "resume", "", load())
    if as_json:
        render.answer_json({"plugin": name, "state": "running", "was": was.state or "running"})
    elif was.state:
        render.answer(f"Plugin {name} was {was.state}: its runs start again.")
    else:
        render.answer(f"Plugin {name} is not paused; nothing was changed.")


def _change(name: str, action: str, reason: str, settings: Settings) -> PluginState:
    """Change its state where that is another one; return what it was."""

    async def change(queue: Queue) -> PluginState:
        states = await plugin_states(queue)
        _refuse_unknown(name, settings, is_in_redis=name in states)
        was = states.get(name, PluginState())
        if (was.state == PAUSED) if action == "pause" else not was.state:
            return was
        await set_plugin_state(queue, name, action, _whoever(settings), reason)
        return was

    return with_queue(change, settings)


def _refuse_unknown(name: str, settings: Settings, *, is_in_redis: bool) -> None:
    """Raise CommandFailed for a name that nobody has heard of: it is a misspelt one, mostly."""
    stands_here = bool(NAME.fullmatch(name)) and (settings.plugin_dir / name).is_dir()
    if not stands_here and not is_in_redis:
        raise CommandFailed(
            f"There is no plugin {name} in {settings.plugin_dir.resolve()}; nothing was changed.",
            "crewpool plugins list",
        )


def _whoever(settings: Settings) -> str:
    """Say who gives the order, as far as that can be known."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user mostly has no name
        user = f"uid {os.getuid()}"
    return f"{user}@{settings.host_name}"
