"""`crewpool runs`: which runs there are, and all that is known about one."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from supervisor import lastmoments
from supervisor.cli import kept, render, wording
from supervisor.cli.failures import CommandFailed
from supervisor.cli.follow import HELP as FOLLOW
from supervisor.cli.follow import follow
from supervisor.cli.options import AsJson, with_queue
from supervisor.cli.request import checked
from supervisor.configuration import load
from supervisor.errors import RedisAway
from supervisor.settings import Settings
from supervisor.streams import inspect
from supervisor.streams.queue import Queue
from supervisor.streams.recorded import Attempt, Recorded, attempts_of, records_of
from supervisor.times import clock, since_of, told

LIST = """List the runs that have a record, the last changed first.

Records are kept for a day (CREWPOOL_RECORD_TTL_S). They are for eyes: crewpool explain looks
at what is really the case. With CREWPOOL_RECORDS_URL those of the database are listed, the
last asked for first, and none that others published without it; CREWPOOL_RECORDS_URL= lists
what Redis has. Waiting are those of the database that are not published yet.

\b
Examples:
  crewpool runs list --state running
  crewpool runs list --user 7 --since 2h
  crewpool runs list --state failed --plugin daily-news-digest --limit 100 --json
"""
SHOW = """Show the record of a run, its attempts, and its result while that stands in its stream.

With CREWPOOL_RECORDS_URL also what the database keeps of it, as long as it keeps it.

\b
Examples:
  crewpool runs show 3f1c0a52-9f0e-4f0e-8f39-1c2d3e4f5a6b
  crewpool runs show RUN --json | jq -r .result.output
"""
_TIMES = (
    "published_at",
    "due_at",
    "parked_at",
    "replayed_at",
    "started_at",
    "updated_at",
    "ended_at",
)
# What stands first, in this order; all else behind it by name.
_FIRST = ("state", "error", "cause", "plugin", "priority", "user_id", "attempt", "worker", *_TIMES)
NONE_IN_DATABASE = (
    "No run has a record in the database. Next, for those that were published without it: "
    "CREWPOOL_RECORDS_URL= crewpool runs list"
)

app = typer.Typer(
    help="Look at runs.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


class State(StrEnum):
    """What a record may say."""

    WAITING = "waiting"
    PENDING = "pending"
    DELAYED = "delayed"
    PARKED = "parked"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


@app.command("list", help=LIST, short_help="List them, the last changed first.")
def list_runs(
    *,
    state: Annotated[State | None, typer.Option(help="In this state only.")] = None,
    plugin: Annotated[str, typer.Option(metavar="NAME", help="Of this plugin only.")] = "",
    user_id: Annotated[
        int | None, typer.Option("--user", metavar="N", min=0, help="For this user only.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Asked for since: 30m, 2h, or a moment.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List them."""
    wanted = kept.Wanted(state or "", plugin, user_id, _since(since))
    settings = load()
    with kept.opened(settings) as store:

        async def some(queue: Queue) -> list[Recorded]:
            found: list[Recorded] = []
            async for run in kept.runs_of(store, queue, wanted):
                found.append(run)
                if len(found) > limit:  # one more, to know whether there are more
                    break
            return found

        found = with_queue(some, settings)
    if as_json:
        render.answer_json([_as_data(run) for run in found[:limit]])
    elif found:
        render.show(_table(found[:limit], time.time()))
    elif wanted != kept.Wanted():
        render.talk("No run fits.")
    else:
        render.talk("No run has a record." if store is None else NONE_IN_DATABASE)
    if len(found) > limit:
        render.talk(f"There are more than {limit}. Next: --limit, --state or --plugin")


@app.command(help=SHOW, short_help="Show all about one.")
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Its id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one."""
    record, result, keeps = _all_about(run_id, load())
    if not record and result is None:
        raise CommandFailed(
            f"Run {run_id} has no record and no result here.", f"crewpool explain {run_id}"
        )
    attempts = attempts_of(record)
    if as_json:
        facts = {key: text for key, text in record.items() if not key.startswith("attempt_")}
        told_attempts = [asdict(attempt) for attempt in attempts]
        data = {"run_id": run_id, "record": facts, "attempts": told_attempts, "result": result}
        render.answer_json({**data, **({"kept": keeps} if keeps else {})})
        return
    render.facts([("run", run_id), *_facts(record)])
    if attempts:
        render.answer()
        render.show(_attempts(attempts))
        for one in attempts:
            if told_of := lastmoments.told(one.post_mortem):
                render.answer(f"Attempt {one.number}: {told_of}")
    render.answer()
    _show_result(result)


app.command("follow", help=FOLLOW, short_help="Wait for the end of one.")(follow)


def _all_about(
    run_id: str, settings: Settings
) -> tuple[dict[str, str], dict[str, Any] | None, dict[str, Any]]:
    """Return the record of a run, its result, and what the database keeps of it."""
    with kept.opened(settings) as store:
        run = None if store is None else store.get(run_id)
    try:
        record, result = with_queue(lambda queue: _record_and_result(queue, run_id), settings)
    except RedisAway as away:
        if run is None:
            raise
        render.talk(f"{str(away).rstrip('.')}. This is what the database keeps.")
        record, result = {}, None
    if run is None:
        return record, result, {}
    return kept.facts_of(run, record), result or kept.result_of(run), run.as_data()


def _since(text: str | None) -> float | None:
    now = time.time()
    if text is None:
        return None
    return checked("--since", text, lambda text: since_of(text, now), "crewpool runs list --help")


async def _record_and_result(
    queue: Queue, run_id: str
) -> tuple[dict[str, str], dict[str, Any] | None]:
    (record,) = await records_of(queue, [run_id])
    return record, await inspect.find_result(queue, run_id)


def _as_data(run: Recorded) -> dict[str, Any]:
    facts = {key: text for key, text in run.facts.items() if not key.startswith("attempt_")}
    return {"run_id": run.run_id, "changed_at": run.changed_at, **facts}


def _table(found: Sequence[Recorded], now: float) -> Table:
    table = render.table(
        *("RUN", "STATE", "PLUGIN", "PRIORITY", "ATTEMPT", "CHANGED", "WHERE", "TOLD"),
        right=("ATTEMPT",),
        cut=("RUN", "PLUGIN", "WHERE", "TOLD"),
    )
    for run in found:
        facts = run.facts
        told_of = facts.get("error") or wording.line(facts).partition(" · ")[2]
        table.add_row(
            render.one_line(run.run_id),
            render.clean(facts.get("state", ""))[:12].replace("\n", " "),
            render.one_line(facts.get("plugin", "")),
            render.clean(facts.get("priority", ""))[:8].replace("\n", " "),
            f"{wording.number(facts, 'attempt'):.0f}" if facts.get("attempt") else "",
            f"{told(now - run.changed_at)} ago",
            render.one_line(facts.get("worker", "")),
            render.one_line(told_of),
        )
    return table


def _facts(record: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the facts of a record in order; its times as times."""
    found = []
    names = [name for name in record if not name.startswith("attempt_")]
    rank = {name: place for place, name in enumerate(_FIRST)}
    for name in sorted(names, key=lambda name: (rank.get(name, len(rank)), name)):
        text = record[name]
        at = wording.number(record, name) if name in _TIMES else 0.0
        found.append((name, clock(at) if at else text))
    return found


def _attempts(attempts: Sequence[Attempt]) -> Table:
    table = render.table(
        *("ATTEMPT", "STARTED", "SECONDS", "CAUSE", "HOST", "SLOT", "CPU S", "PEAK", "ERROR"),
        right=("ATTEMPT", "SECONDS", "CPU S", "PEAK"),
        cut=("HOST", "ERROR"),
    )
    for one in attempts:
        table.add_row(
            str(one.number),
            clock(one.started_at) if one.started_at else "",
            f"{max(0.0, one.ended_at - one.started_at):.1f}" if one.started_at else "",
            render.clean(one.cause)[:16].replace("\n", " "),
            render.one_line(one.host),
            render.clean(one.slot)[:6].replace("\n", " "),
            f"{one.cpu_s:.1f}" if one.max_rss_bytes else "",
            render.size(one.max_rss_bytes) if one.max_rss_bytes else "",
            render.one_line(one.error),
        )
    return table


def _show_result(result: Mapping[str, Any] | None) -> None:
    if result is None:
        render.answer("It has no result that could be found.")
        return
    output = str(result.get("output") or "")
    told_of = str(result.get("error") or "") or f"{len(output):,} characters of output, see --json"
    meta = result.get("meta")
    facts = [("result", str(result.get("status"))), ("told", told_of)]
    if isinstance(meta, dict):
        facts.append(("meta", json.dumps(meta, ensure_ascii=False)))
    render.facts(facts)
