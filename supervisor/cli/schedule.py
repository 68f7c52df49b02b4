"""`crewpool schedule`: plugins that run over and over, by cron lines."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from supervisor.cli import render, request
from supervisor.cli.failures import CommandFailed, UsageWrong
from supervisor.cli.options import AsJson
from supervisor.cli.submit import Base, Pairs, Priority, Secrets
from supervisor.configuration import load
from supervisor.runs.records import open_schedules, open_store
from supervisor.runs.requests import RequestInvalid
from supervisor.settings import Settings
from supervisor.streams.wire import LARGEST_USER_ID
from supervisor.times import clock, told
from worker.errors import PluginBroken, PluginNotFound, SettingsInvalid
from worker.plugins import check_settings, discover

if TYPE_CHECKING:
    from supervisor.runs.models import Schedule
    from supervisor.runs.schedules import Schedules

HELP = "crewpool schedule add --help"

ADD = """Run a plugin whenever a cron line is due: minute, hour, day of the month, month, day
of the week. Prints the schedule's id.

Fired by crewpool results consume, of which any number may run: each time becomes one run.
What comes due while none runs is missed: the latest time is made up for, those before it are
counted. Added again with other credentials, a schedule takes these and keeps its times.

\b
Examples:
  crewpool schedule add "0 7 * * *" daily-news-digest --user 7 --tz Europe/Berlin
  crewpool schedule add "*/15 8-17 * * MON-FRI" hello --set name=Ada --priority low
  crewpool schedule add "0 0 L * *" hello --secret _llm_api_key=OPENAI_API_KEY
\b
Changes of the clocks: a time that is left out is due right after the gap, one that comes twice
is due the first time. Lines with * for minutes or hours go by the time that passes.
\b
Exit codes:
  0  it is kept, or was there
  1  the database is away, or there is no key to seal credentials with
  2  no cron line, no time zone, no plugin or no settings: nothing is kept
\b
--set, --settings and --secret are those of crewpool submit.
"""
LIST = """List the schedules, the one that is due next first.

\b
Examples:
  crewpool schedule list
  crewpool schedule list --json | jq -r '.[].id'
"""
REMOVE = """Take a schedule away: it fires no more. Runs that it has fired go on.

\b
Examples:
  crewpool schedule remove 4be2c0ffee12
"""

PAUSE = """Let a schedule fire no more until crewpool schedule resume.

Times that come meanwhile are skipped, and not made up for. Runs that it has fired go on.

\b
Examples:
  crewpool schedule pause 4be2c0ffee12
"""
RESUME = """Let a schedule fire again, from its next time on.

\b
Examples:
  crewpool schedule resume 4be2c0ffee12
"""
Id = Annotated[str, typer.Argument(metavar="ID", help="Its id.")]

app = typer.Typer(
    help="Run plugins over and over, by cron lines.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command(
    "add",
    help=ADD,
    short_help="Run a plugin whenever a cron line is due.",
    # A line without quotes: the shell makes many words of it, and file names of its stars.
    context_settings={"allow_extra_args": True},
)
def add(  # noqa: PLR0913  # an option is a parameter
    typed: typer.Context,
    cron: Annotated[str, typer.Argument(metavar="CRON", help='Five fields: "0 7 * * *".')],
    plugin: Annotated[str, typer.Argument(metavar="PLUGIN", help="Its name.")],
    *,
    pairs: Pairs = None,
    settings: Base = "",
    secrets: Secrets = None,
    user_id: Annotated[
        int,
        typer.Option("--user", metavar="N", min=0, max=LARGEST_USER_ID, help="For whom."),
    ] = 0,
    zone: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="Where the line's clock hangs.")
    ] = "UTC",
    priority: Annotated[Priority, typer.Option(help="Which stream.")] = Priority.NORMAL,
    as_json: AsJson = False,
) -> None:
    """Keep a schedule."""
    if typed.args:
        told = f"Nothing was kept: {len(typed.args)} words more came than a line and a plugin"
        raise UsageWrong(told, 'put the line in quotes: crewpool schedule add "0 7 * * *" PLUGIN')
    for key in request.credentials_typed(pairs or ()):
        render.talk(f"{key} stands in your shell's history now; use --secret {key}=VARIABLE")
    ours = load()
    body = request.settings_of(settings, pairs or (), secrets or (), os.environ)
    with _opened(ours) as schedules:
        # Of the extra `records`, which is there: it is open.
        from supervisor.runs.cron import Cron, CronInvalid  # noqa: PLC0415
        from supervisor.runs.schedules import NewSchedule  # noqa: PLC0415

        try:
            read = Cron.read(cron, zone)
            _check_plugin(ours, plugin, body)
            made, is_new = schedules.add(NewSchedule(read, plugin, user_id, body, priority))
        except CronInvalid as error:
            raise UsageWrong(f"Nothing was kept: {error}", error.next_step) from None
        except RequestInvalid as error:
            raise UsageWrong(f"Nothing was kept: {error.problem}", HELP) from None
    if as_json:
        render.answer_json({**made.as_data(), "is_new": is_new})
        return
    render.answer(made.id)
    if not is_new:
        render.talk("It was there already, and has these credentials now.")
    render.talk(_due_next(made))


@app.command("list", help=LIST, short_help="List them, the next one first.")
def list_schedules(*, as_json: AsJson = False) -> None:
    """List them."""
    with _opened(load()) as schedules:
        found = schedules.list()
    if as_json:
        render.answer_json([one.as_data() for one in found])
    elif found:
        render.show(_table(found))
    else:
        render.talk(f"There is no schedule. Next: {HELP}")


@app.command("remove", help=REMOVE, short_help="Take one away.")
def remove(schedule_id: Id, *, as_json: AsJson = False) -> None:
    """Take one away."""
    with _opened(load()) as schedules:
        if not schedules.remove(schedule_id):
            raise _unknown(schedule_id)
    if as_json:
        render.answer_json({"id": schedule_id, "is_removed": True})
    else:
        render.talk(f"Schedule {schedule_id} fires no more.")


@app.command("pause", help=PAUSE, short_help="Let one fire no more for a while.")
def pause(schedule_id: Id, *, as_json: AsJson = False) -> None:
    """Pause it, unless it is."""
    with _opened(load()) as schedules:
        found = schedules.pause(schedule_id)
    if found is None:
        raise _unknown(schedule_id)
    if as_json:
        render.answer_json({**found[0].as_data(), "is_changed": found[1]})
    elif found[1]:
        render.talk(f"Schedule {schedule_id} is paused: it fires no more until it is resumed.")
    else:
        render.talk(f"Schedule {schedule_id} is paused already; nothing was changed.")


@app.command("resume", help=RESUME, short_help="Let it fire again.")
def resume(schedule_id: Id, *, as_json: AsJson = False) -> None:
    """Resume it, unless it fires."""
    with _opened(load()) as schedules:
        found = schedules.resume(schedule_id)
    if found is None:
        raise _unknown(schedule_id)
    if as_json:
        render.answer_json({**found[0].as_data(), "is_changed": found[1]})
        return
    was = "" if found[1] else f"Schedule {schedule_id} is not paused; nothing was changed. "
    render.talk(was + _due_next(found[0]))


def _unknown(schedule_id: str) -> CommandFailed:
    return CommandFailed(f"There is no schedule {schedule_id}.", "crewpool schedule list")


def _due_next(one: "Schedule") -> str:
    if one.is_paused:
        return f"It is paused: crewpool schedule resume {one.id}"
    in_s = one.next_due_at.timestamp() - time.time()
    return f"Due next at {_at(one.next_due_at)}, in {told(in_s)}."


@contextmanager
def _opened(settings: Settings) -> Iterator["Schedules"]:
    with open_store(settings) as store:
        yield open_schedules(settings, store)


def _check_plugin(settings: Settings, name: str, body: Mapping[str, Any]) -> None:
    """Refuse what the plugins here say cannot run. Supervisors may have others than we."""
    found = discover(settings.plugin_dir)
    if not found.plugins and not found.broken:
        render.talk(f"No plugin is in {settings.plugin_dir.resolve()}: {name} was not checked.")
        return
    try:
        check_settings(found.find(name), body)
    except PluginNotFound as error:
        told_of = f"Nothing was kept: {error}, in {settings.plugin_dir.resolve()}"
        raise UsageWrong(told_of, "PLUGIN_DIR=… with the folder of the supervisors") from None
    except SettingsInvalid as error:
        raise UsageWrong(f"Nothing was kept: {error}", "crewpool plugins list") from None
    except PluginBroken as error:
        render.talk(f"{error}. It is kept all the same: mend the plugin before it is due.")


def _table(found: "Sequence[Schedule]") -> Table:
    table = render.table(
        *("ID", "CRON", "ZONE", "PLUGIN", "USER", "NEXT", "FIRED", "MISSED", "TOLD"),
        right=("USER", "FIRED", "MISSED"),
        cut=("PLUGIN", "TOLD"),
    )
    for one in found:
        table.add_row(
            one.id,
            one.cron,
            one.timezone,
            render.one_line(one.plugin_name),
            str(one.user_id),
            "paused" if one.is_paused else _at(one.next_due_at),
            str(one.fired),
            str(one.missed),
            render.one_line(one.last_error),
        )
    return table


def _at(moment: datetime) -> str:
    return clock(moment.timestamp())
