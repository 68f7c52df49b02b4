"""`crewpool cancel`: ends a run wherever it is, and says what became of it."""

import time
from asyncio import sleep
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supervisor.cli import render, wording
from supervisor.cli.failures import NO_RESULT_IN_TIME, CommandFailed
from supervisor.cli.kept import opened
from supervisor.cli.options import AsJson, with_queue
from supervisor.configuration import load
from supervisor.runs.cancelling import cancel as cancel_run
from supervisor.streams import inspect
from supervisor.streams.endings import CANCELLED
from supervisor.streams.queue import Queue

if TYPE_CHECKING:
    from supervisor.runs.store import RunStore

POLL_S = 0.05

HELP = """Cancel a run, whether it is queued, delayed, parked or running on any host.

One that nobody has in hand gets its result at once: failed, with the error "cancelled". One
that runs is killed by its supervisor; this waits for its result. One that waits to be published
in the database of CREWPOOL_RECORDS_URL ends there, also while Redis is away.

\b
Examples:
  crewpool cancel 3f1c0a52-9f0e-4f0e-8f39-1c2d3e4f5a6b
  crewpool cancel RUN --timeout 30 --json
\b
Exit codes:
  0    cancelled, or it ended by itself in the moment before
  1    not known, or ended before: nothing was changed
  124  it is marked, and has no result within --timeout
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@dataclass(frozen=True)
class Outcome:
    """What the run was, and how it ended: "" where it has no result yet."""

    run_id: str
    was: str
    on: str = ""
    status: str = ""
    error: str = ""

    @property
    def is_cancelled(self) -> bool:
        """Whether the cancel is what ended it."""
        return self.status == "failed" and self.error == CANCELLED


@app.command(help=HELP)
def cancel(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Its id.")],
    *,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="S", min=0.0, help="Longest wait for the end of one that runs."
        ),
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Cancel it, and wait until it is over."""
    settings = load()
    with opened(settings) as store:
        outcome = with_queue(lambda queue: _cancel(queue, store, run_id, timeout_s), settings)
    if as_json:
        render.answer_json(_as_data(outcome))
    if not outcome.status:
        raise CommandFailed(
            f"Run {run_id} is running on {outcome.on}, is marked as cancelled, and has no result "
            f"after {timeout_s:g}s. Its supervisor ends it as soon as it hears of it.",
            f"crewpool explain {run_id}",
            NO_RESULT_IN_TIME,
        )
    if not as_json:
        render.answer(_told(outcome))


async def _cancel(queue: Queue, store: "RunStore | None", run_id: str, timeout_s: float) -> Outcome:
    found = await cancel_run(queue, store, run_id)
    if found.was == "unknown":
        raise CommandFailed(
            f"Run {run_id} is not known here: it stands in no stream, and nobody has it.",
            "crewpool runs list",
        )
    if found.was == "ended":
        told = f"Run {run_id} has ended{f' ({found.detail})' if found.detail else ''}"
        raise CommandFailed(f"{told}: there is nothing to cancel.", f"crewpool runs show {run_id}")
    if found.was != "running":
        return Outcome(run_id, found.was, status="failed", error=CANCELLED)
    facts = await _wait_for_end(queue, run_id, timeout_s)
    status, error = facts.get("state", ""), facts.get("error", "")
    return Outcome(run_id, found.was, found.detail, status, error)


async def _wait_for_end(queue: Queue, run_id: str, timeout_s: float) -> dict[str, str]:
    """Return the record of the run when it has ended, {} when it did not in time."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        # The marker is written with the result. The state in the record may be an older one.
        if await inspect.has_result(queue, run_id):
            facts = await inspect.record(queue, run_id)
            return facts if facts.get("state") in wording.ENDED else {"state": "ended"}
        if time.monotonic() >= give_up_at:
            return {}
        await sleep(POLL_S)


def _told(outcome: Outcome) -> str:
    if outcome.is_cancelled and outcome.was == "running":
        return f"Run {outcome.run_id} was running on {outcome.on}: killed, and its result is out."
    if outcome.is_cancelled and outcome.was == "waiting":
        return f"Run {outcome.run_id} waited to be published: cancelled, and it will not be."
    if outcome.is_cancelled:
        return f"Run {outcome.run_id} was {outcome.was}: cancelled, and its result is out."
    how = f"{outcome.status}{f': {outcome.error}' if outcome.error else ''}"
    return f"Run {outcome.run_id} ended by itself before the cancel reached it ({how})."


def _as_data(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "cancelled": outcome.is_cancelled}
