"""`crewpool runs follow`: waits for the end of a run that was asked for by whomever."""

import asyncio
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supervisor.cli import failures, kept, outputs, render
from supervisor.cli.failures import CommandFailed
from supervisor.cli.options import AsJson, checked_queue
from supervisor.cli.progressline import ProgressLine
from supervisor.cli.waiting import BLOCK_S, NoResultInTime, ResultGone, Waiting
from supervisor.configuration import load
from supervisor.errors import RedisAway
from supervisor.settings import Settings
from supervisor.streams import inspect
from supervisor.streams.queue import Queue

if TYPE_CHECKING:
    from supervisor.runs.store import RunStore

HELP = """Wait for the end of a run, and print what its crew wrote.

The progress is shown on stderr. A run that has ended is printed at once, as long as its result
stands in its stream, or for as long as the database of CREWPOOL_RECORDS_URL keeps it.

\b
Examples:
  crewpool runs follow 3f1c0a52-9f0e-4f0e-8f39-1c2d3e4f5a6b
  crewpool runs follow RUN --timeout 60 --json
\b
Exit codes:
  0    completed
  1    failed, with the error on stderr, or not known
  124  no result within --timeout; the run goes on
  130  stopped by Ctrl-C; the run goes on
"""


def follow(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Its id.")],
    *,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", metavar="S", min=0.1, help="Longest wait; without, no limit."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow it."""
    settings = load()
    try:
        with kept.opened(settings) as store:
            result = asyncio.run(_follow(settings, store, run_id, timeout_s))
    except TimeoutError:
        again = f"crewpool runs follow {shlex.quote(run_id)}"
        raise NoResultInTime(run_id, timeout_s or 0.0, again) from None
    raise typer.Exit(0 if outputs.ended(result, as_json=as_json) else failures.FAILED)


async def _follow(
    settings: Settings, store: "RunStore | None", run_id: str, timeout_s: float | None
) -> dict[str, Any]:
    queue = checked_queue(settings)
    results = inspect.Results(settings.redis_address, settings.results_stream, BLOCK_S)
    try:
        run = None if store is None else store.get(run_id)
        if (known := kept.result_of(run)) is not None:
            return known
        try:
            # Before we look: a result that comes meanwhile must not be missed.
            await results.start_here()
            if (found := await _earlier(queue, run_id, is_known=run is not None)) is not None:
                return found
        except RedisAway:
            if run is None:
                raise  # else it is published, or given up, while we wait
        with ProgressLine() as line:
            waiting = Waiting(queue, results, run_id, line.show, render.talk)
            return await kept.awaited(waiting.result(timeout_s), store, run_id)
    except ResultGone:
        # The consumer of the results may have been faster than the trimming.
        if (late := kept.result_of(None if store is None else store.get(run_id))) is None:
            raise
        return late
    finally:
        await results.close()
        await queue.close()


async def _earlier(queue: Queue, run_id: str, *, is_known: bool) -> dict[str, Any] | None:
    """Return the result that is there already, None where one is to come."""
    # In this order: one that ends in between is found.
    has_ended = await inspect.has_result(queue, run_id)
    if (found := await inspect.find_result(queue, run_id)) is not None:
        return found
    facts = await inspect.record(queue, run_id)
    if has_ended:
        raise ResultGone(run_id, facts, queue.keys.results)
    if not facts and not is_known:
        raise CommandFailed(f"Run {run_id} is not known here.", f"crewpool explain {run_id}")
    return None
