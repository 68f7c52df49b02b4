"""`crewpool dlq`: the dead letters, looked at, replayed and purged."""

import os
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from supervisor.cli import failures, letters, render, request
from supervisor.cli.failures import CommandFailed, UsageWrong
from supervisor.cli.letters import Replayed
from supervisor.cli.options import AsJson, with_queue
from supervisor.configuration import load
from supervisor.errors import RedisAway
from supervisor.streams import dead_letters
from supervisor.streams.dead_letters import Letter, Wanted
from supervisor.streams.inspect import Refused
from supervisor.streams.publish import PublishUncertain, QueueFull
from supervisor.streams.queue import Queue
from supervisor.streams.replay import CannotReplay, replay
from supervisor.times import length_of
from worker.policies import CAUSES

COMMAND = "crewpool dlq --help"
_WHICH = """
Which ones: ids of letters, or of runs (the newest letter of each); or filters; or --all.
"""
LIST = """List the dead letters, the newest first.

\b
Examples:
  crewpool dlq list --class crash --newer 2h
  crewpool dlq list --plugin daily-news-digest --limit 1000 --json
"""
SHOW = """Show all that a dead letter holds: why, the payload without credentials, the stack.

\b
Examples:
  crewpool dlq show 1763778123456-0
  crewpool dlq show 3f1c0a52-9f0e-4f0e-8f39-1c2d3e4f5a6b
"""
REPLAY = f"""Start runs over from their dead letters: the id stays, attempts are counted anew.

A run that was buried has a failed result. Its replay makes a second one, which the
application will see for the same id: say --force when it can take that. The letter goes
with the replay.
{_WHICH}
\b
Credentials come from the request, while it stands in its stream (CREWPOOL_RETENTION_S).
After that, and to use others, give them with --secret, as with crewpool submit.
\b
Examples:
  crewpool dlq replay 1763778123456-0 --force
  crewpool dlq replay --class crash --newer 1h --force
  crewpool dlq replay --all --force --secret _llm_api_key=OPENAI_API_KEY
\b
Exit codes:
  0  all were replayed
  1  at least one was not: it is said why, and its letter stays
  2  nothing can be meant by it: nothing was changed
"""
PURGE = f"""Remove dead letters for good. Their runs keep their results.
{_WHICH}
\b
Examples:
  crewpool dlq purge 1763778123456-0
  crewpool dlq purge --class invalid --older 7d --yes
  crewpool dlq purge --all --yes
\b
Asks before, on a terminal; elsewhere it wants --yes.
"""

Plugin = Annotated[str, typer.Option("--plugin", metavar="NAME", help="Of this plugin only.")]
Cause = Annotated[
    str, typer.Option("--class", metavar="CLASS", help=f"One of {', '.join(CAUSES)}.")
]
Older = Annotated[
    str | None, typer.Option("--older", metavar="AGE", help="Buried longer ago: 30s, 10m, 2h, 1d.")
]
Newer = Annotated[str | None, typer.Option("--newer", metavar="AGE", help="Buried less long ago.")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", show_default=False, help="Of letters, or of runs."),
]
Every = Annotated[bool, typer.Option("--all", help="All dead letters.")]

app = typer.Typer(
    help="Look at the dead letters, replay or purge them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list", help=LIST, short_help="List them, the newest first.")
def list_letters(
    *,
    plugin: Plugin = "",
    cause: Cause = "",
    older: Older = None,
    newer: Newer = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List them."""
    wanted = _wanted(plugin, cause, older, newer)
    # One more, to know whether there are more.
    found = with_queue(lambda queue: _some(queue, wanted, limit + 1), load())
    if as_json:
        render.answer_json([letters.as_data(letter) for letter in found[:limit]])
    elif found:
        render.show(letters.table(found[:limit], time.time()))
    else:
        render.talk("No dead letter is there." if wanted.is_all else "No dead letter fits.")
    if len(found) > limit:
        render.talk(f"There are more than {limit}. Next: --limit, or a filter")


@app.command(help=SHOW, short_help="Show all about one.")
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="Of a letter, or of a run.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one."""
    (letter,) = with_queue(lambda queue: _named(queue, [name]), load())
    if as_json:
        render.answer_json(letters.as_data(letter, is_whole=True))
    else:
        letters.show(letter, time.time())


@app.command("replay", help=REPLAY, short_help="Start their runs over.")
def replay_letters(  # noqa: PLR0913  # an option is a parameter
    names: Ids = None,
    *,
    plugin: Plugin = "",
    cause: Cause = "",
    older: Older = None,
    newer: Newer = None,
    every: Every = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also of runs that have a result: it gets a second.")
    ] = False,
    secrets: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="_KEY=VARIABLE", help="A credential, from a variable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay those that are meant, the oldest first."""
    wanted = _meant(names or (), _wanted(plugin, cause, older, newer), every=every)
    given = request.settings_of("", (), secrets or (), os.environ)

    async def replay_all(queue: Queue) -> list[Replayed]:
        found = await _those(queue, names or (), wanted)
        return await _replay(queue, found, given, is_forced=force)

    told = with_queue(replay_all, load())
    if as_json:
        render.answer_json([letters.replayed_data(one) for one in told])
    else:
        letters.tell_replayed(told)
    if any(one.published is None for one in told):
        raise typer.Exit(failures.FAILED)


@app.command(help=PURGE, short_help="Remove them for good.")
def purge(  # noqa: PLR0913  # an option is a parameter
    names: Ids = None,
    *,
    plugin: Plugin = "",
    cause: Cause = "",
    older: Older = None,
    newer: Newer = None,
    every: Every = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Purge those that are meant, and no others that came while somebody thought."""
    wanted = _meant(names or (), _wanted(plugin, cause, older, newer), every=every)
    settings = load()
    found = with_queue(lambda queue: _those(queue, names or (), wanted), settings)
    count = len(found)
    if found and not yes and not render.confirm(f"Remove {letters.counted(count)} for good?"):
        raise UsageWrong(
            f"Nothing was removed: {letters.counted(count)} would be.", "--yes to do it"
        )
    ids = [letter.id for letter in found]
    removed = with_queue(lambda queue: dead_letters.purge(queue, ids), settings) if found else 0
    if as_json:
        render.answer_json({"purged": removed})
    else:
        render.answer(f"{letters.counted(removed)} removed.")


def _wanted(plugin: str, cause: str, older: str | None, newer: str | None) -> Wanted:
    if cause and cause not in CAUSES:
        told = f"--class {cause}: there is no such class. Classes: {', '.join(CAUSES)}"
        raise UsageWrong(told, COMMAND)
    older_s = None if older is None else request.checked("--older", older, length_of, COMMAND)
    newer_s = None if newer is None else request.checked("--newer", newer, length_of, COMMAND)
    if older_s is not None and newer_s is not None and older_s >= newer_s:
        raise UsageWrong(f"nothing is older than {older} and newer than {newer}", COMMAND)
    return Wanted(plugin, cause, older_s, newer_s)


def _meant(names: Sequence[str], wanted: Wanted, *, every: bool) -> Wanted:
    """Return the filter. Raises UsageWrong unless ids, filters or --all say which are meant."""
    if sum((bool(names), not wanted.is_all, every)) != 1:
        raise UsageWrong("Say which: ids, or filters, or --all; one of the three.", COMMAND)
    return wanted


async def _some(queue: Queue, wanted: Wanted, most: int | None = None) -> list[Letter]:
    found: list[Letter] = []
    async for letter in dead_letters.letters(queue, wanted):
        found.append(letter)
        if len(found) == most:
            break
    return found


async def _those(queue: Queue, names: Sequence[str], wanted: Wanted) -> list[Letter]:
    """Return the letters that are meant, the oldest first. Raises CommandFailed for no such id."""
    if names:
        return await _named(queue, names)
    return list(reversed(await _some(queue, wanted)))


async def _named(queue: Queue, names: Sequence[str]) -> list[Letter]:
    found: dict[str, Letter] = {}
    for name in names:
        letter = await dead_letters.find(queue, name)
        if letter is None:
            raise CommandFailed(f"There is no dead letter {name}.", "crewpool dlq list")
        found[letter.id] = letter
    return list(found.values())


async def _replay(
    queue: Queue, found: Sequence[Letter], secrets: dict[str, str], *, is_forced: bool
) -> list[Replayed]:
    """Replay one after the other, until Redis has no room, says no or is away."""
    told: list[Replayed] = []
    for letter in found:
        try:
            published = await replay(queue, letter, secrets, is_forced=is_forced)
        except CannotReplay as error:
            told.append(Replayed(letter, None, error.why, error.next_step))
        except (QueueFull, RedisAway, PublishUncertain, Refused) as error:
            if not told:
                raise
            told += [Replayed(later, None, str(error)) for later in found[len(told) :]]
            break
        else:
            told.append(Replayed(letter, published))
    return told
