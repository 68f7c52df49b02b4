"""`crewpool submit`: publishes a request as an application would, and may wait for its result."""

import asyncio
import os
import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from supervisor.cli import failures, outputs, render, request
from supervisor.cli.options import AsJson
from supervisor.cli.progressline import ProgressLine
from supervisor.cli.submitting import Submitting
from supervisor.configuration import load
from supervisor.streams.publish import Publication, Published
from supervisor.streams.wire import LARGEST_USER_ID, Request

HELP = """Ask for a run of a plugin: publish a request on the stream in Redis.

Prints the run's id on stdout, and on stderr what became of the request where it was not
simply published. With --wait: shows the progress on stderr, and prints what the crew wrote
on stdout.

\b
Examples:
  crewpool submit hello --set name=Ada --wait
  crewpool submit daily-news-digest --set 'topics=["science"]' --wait
  crewpool submit daily-news-digest --settings @settings.json --priority high
  crewpool submit hello --secret _llm_api_key=OPENAI_API_KEY --wait --timeout 60
  crewpool submit hello --in 10m
  crewpool submit hello --at 2026-12-24T18:00 --priority low
  crewpool submit hello --set name=Ada --unique-for 30m
\b
Unique (--unique-for 30m):
  for 30 minutes, at most until the run has ended, another request for the same plugin, user
  and settings (credentials do not count) is not published: it gets this run's id
\b
Values of --set:
  JSON if it parses as JSON, else a text     --set limit=3 --set name=Ada
  a key that comes twice makes a list        --set topics=science --set topics=art
  dots lead into objects                     --set mail.to=ada@example.com
\b
Exit codes:
  0    published, delayed, or known already
  1    refused: Redis is away or says no, or as many runs wait as may
  2    no request, or a time that cannot be
\b
Exit codes with --wait:
  0    completed
  1    failed, with the error on stderr
  124  no result within --timeout; the run goes on
  130  stopped by Ctrl-C; the run goes on
\b
Redis and the names of the streams come from the settings (REDIS_URL and others, see
crewpool config show). With CREWPOOL_RECORDS_URL the run is recorded first; while Redis is
away it is accepted all the same, and crewpool results consume publishes it later.
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Priority(StrEnum):
    """The four streams of requests."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class Manner:
    """How the result is waited for and shown."""

    wait: bool
    timeout_s: float | None
    as_json: bool


Pairs = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="One setting.")]
Base = Annotated[str, typer.Option(metavar="@FILE|JSON", help="All settings; @- reads stdin.")]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="_KEY=VARIABLE", help="A credential, from a variable."),
]
UserId = Annotated[
    int, typer.Option("--user", metavar="N", min=0, max=LARGEST_USER_ID, help="For whom.")
]
RunId = Annotated[
    str, typer.Option(metavar="ID", help="Id of the run; one that is known is not started again.")
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="Start it then: ISO 8601, or unix seconds."),
]
In = Annotated[
    str | None,
    typer.Option("--in", metavar="LENGTH", help="Start it so long from now: 30s, 10m, 2h, 1d."),
]
UniqueFor = Annotated[
    str | None, typer.Option(metavar="LENGTH", help="Publish no second one like it for so long.")
]
TimeoutS = Annotated[
    float | None,
    typer.Option("--timeout", metavar="S", min=0.1, help="Longest wait; without, no limit."),
]


@app.command(help=HELP)
def submit(  # noqa: PLR0913  # an option is a parameter
    plugin: Annotated[str, typer.Argument(metavar="PLUGIN", help="Its name.")],
    *,
    pairs: Pairs = None,
    settings: Base = "",
    secrets: Secrets = None,
    user_id: UserId = 0,
    run_id: RunId = "",
    priority: Annotated[Priority, typer.Option(help="Which stream.")] = Priority.NORMAL,
    at: At = None,
    delay: In = None,
    unique_for: UniqueFor = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    timeout_s: TimeoutS = None,
    as_json: AsJson = False,
) -> None:
    """Publish, and wait if asked to."""
    if timeout_s is not None and not wait:
        raise failures.UsageWrong("--timeout is the longest --wait", request.HELP)
    timing = request.timing_of(at, delay, unique_for, time.time())
    for key in request.credentials_typed(pairs or ()):
        render.talk(f"{key} stands in your shell's history now; use --secret {key}=VARIABLE")
    ours = load()
    body = request.settings_of(settings, pairs or (), secrets or (), os.environ)
    asked = Request(run_id or str(uuid.uuid4()), plugin, user_id, body)
    payload = request.payload_of(asked, ours.max_payload_bytes)
    submitting = Submitting(ours, Publication(asked, payload, priority, **timing), render.talk)
    try:
        code = asyncio.run(_carry_out(submitting, asked.run_id, Manner(wait, timeout_s, as_json)))
    except KeyboardInterrupt:
        code = _interrupted(submitting)
    raise typer.Exit(code)


async def _carry_out(submitting: Submitting, run_id: str, manner: Manner) -> int:
    try:
        if not manner.wait:
            _show(await submitting.publish(), run_id, as_json=manner.as_json)
            return 0
        render.talk(f"Submitting run {run_id}")
        with ProgressLine() as line:
            result = await submitting.publish_and_wait(manner.timeout_s, line.show)
    finally:
        await submitting.close()
    return 0 if outputs.ended(result, as_json=manner.as_json) else failures.FAILED


def _show(published: Published, run_id: str, *, as_json: bool) -> None:
    """Print the id of the run that stands for the request, with --json all about it."""
    if not as_json:
        render.answer(published.run_id)
        return
    render.answer_json(
        {
            "run_id": published.run_id,
            "outcome": published.what,
            "asked_run_id": run_id,
            "entry_id": published.entry_id or None,
            "due_at": published.due_at,
            "state": published.state or None,
        }
    )


def _interrupted(submitting: Submitting) -> int:
    run_id = submitting.run_id
    if submitting.is_published:
        told = f"Stopped waiting. Run {run_id} goes on."
    else:
        told = f"Stopped before Redis had confirmed run {run_id}."
    render.failure(told, submitting.again)
    return failures.INTERRUPTED
