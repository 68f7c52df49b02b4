"""`crewpool demo`: the whole path of a run, with real parts, on a machine that has nothing.

Starts `crewpool up` in a temporary folder, asks for runs that end well, overrun or make no
sense, and accounts for each of them. It leaves nothing behind.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import typer

from supervisor.cli import outputs, render
from supervisor.cli.demo_runs import TIMEOUT_S, DemoRun, all_runs, digest_of
from supervisor.cli.demo_view import View, closing_tables
from supervisor.cli.demo_world import DemoWorld
from supervisor.cli.failures import INTERRUPTED, CommandFailed
from supervisor.cli.options import AsJson
from supervisor.cli.waiting import BLOCK_S
from supervisor.configuration import load
from supervisor.embedded.offline_model import provider_key_in
from supervisor.errors import RedisAway
from supervisor.streams import inspect
from supervisor.streams.deployment import queue_of
from supervisor.streams.publish import add_plainly
from supervisor.streams.queue import Queue

SERVER_WITHIN_S = 20.0
ALL_WITHIN_S = 90.0
RETRY_S = 0.1

HELP = f"""See crewpool work: everything embedded, nothing left behind, about half a minute.

Starts a supervisor with two workers, a server and the offline model, and asks for seven
runs: four news digests, one that overruns its {TIMEOUT_S} s and is killed, and two requests
that make no sense. Shows them live, then a digest, then what became of each run.

\b
Examples:
  crewpool demo
  crewpool demo --json | jq .runs
\b
Needs the sample plugin daily-news-digest: in PLUGIN_DIR, in ./plugins, or beside the package.
No key is used and no network is needed.
Exit codes: 0 every run ended as it must, 1 at least one did not.
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def demo(*, as_json: AsJson = False) -> None:
    """Run it all."""
    started = time.monotonic()
    runs = all_runs()
    render.talk("Starting a supervisor with two workers, a server, and the offline model.")
    if (variable := provider_key_in(os.environ)) is not None:
        render.talk(f"{variable} is not used here; crewpool up would use it.")
    try:
        with DemoWorld() as world:
            problems = asyncio.run(Following(world, runs).to_the_end())
            said = world.last_lines() if problems else ""
    except KeyboardInterrupt:
        raise CommandFailed("Stopped; nothing is left behind.", "", INTERRUPTED) from None
    if as_json:
        render.answer_json(_as_data(runs, problems))
    else:
        _show(runs, problems, time.monotonic() - started)
    if problems:
        render.talk("The supervisor's last lines:")
        render.talk(said, "dim")
        raise CommandFailed("The demo went wrong: " + "; ".join(problems), "crewpool doctor")


class Following:
    """Publishes the runs and follows them until each has its result."""

    def __init__(self, world: DemoWorld, runs: Sequence[DemoRun]) -> None:
        self._world = world
        self._runs = {run.run_id: run for run in runs}
        settings = load(redis_url=world.redis_url)
        self._queue: Queue = queue_of(settings)
        self._results = inspect.Results(world.redis_url, settings.results_stream, BLOCK_S)

    async def to_the_end(self) -> list[str]:
        """Return what did not end as it must."""
        try:
            await self._wait_for_server()
            for run in self._runs.values():
                await add_plainly(self._queue, self._queue.keys.requests, run.run_id, run.payload)
            await self._follow()
            return await self._problems()
        except (RedisAway, TimeoutError, CommandFailed) as error:
            return [str(error) or f"not all runs had a result after {ALL_WITHIN_S:g} s"]
        finally:
            await self._results.close()
            await self._queue.close()

    async def _wait_for_server(self) -> None:
        give_up_at = time.monotonic() + SERVER_WITHIN_S
        while True:
            self._check_child()
            try:
                await inspect.hosts(self._queue)
            except RedisAway:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _follow(self) -> None:
        with View(list(self._runs.values())) as view:
            async with asyncio.timeout(ALL_WITHIN_S):
                while not all(run.has_ended for run in self._runs.values()):
                    self._check_child()
                    await self._look()
                    view.update()

    async def _look(self) -> None:
        for result in await self._results.next():
            if (run := self._runs.get(str(result.get("plugin_run_id")))) is not None:
                run.results.append(result)
        for run in self._runs.values():
            if not run.has_ended or not run.record.get("ended_at"):
                run.record = await inspect.record(self._queue, run.run_id)

    async def _problems(self) -> list[str]:
        # Once more: a second result of a run would stand here by now.
        await self._look()
        found = [problem for run in self._runs.values() if (problem := run.problem())]
        found += [
            f"{seen.pending} entries of {seen.stream} are still pending"
            for seen in await inspect.streams(self._queue)
            if seen.group == self._queue.keys.group and seen.pending
        ]
        return found

    def _check_child(self) -> None:
        if not self._world.is_alive():
            raise CommandFailed("crewpool up ended by itself")


def _show(runs: Sequence[DemoRun], problems: Sequence[str], took_s: float) -> None:
    if markdown := next(filter(None, map(digest_of, runs)), ""):
        outputs.document(markdown)
        render.answer()
    for table in closing_tables(runs):
        render.show(table)
        render.answer()
    if not problems:
        completed = sum(run.state == "completed" for run in runs)
        render.answer(
            f"{len(runs)} runs, {len(runs)} results, exactly one each: {completed} completed, "
            f"{len(runs) - completed} failed as they had to. Nothing is pending. {took_s:.0f} s.",
            "bold green",
        )


def _as_data(runs: Sequence[DemoRun], problems: Sequence[str]) -> dict[str, Any]:
    return {
        "ok": not problems,
        "problems": list(problems),
        "runs": [
            {
                "run": run.run_id,
                "plugin": run.plugin,
                "asked": run.asked,
                "results": len(run.results),
                "status": run.state,
                "error": run.told_error,
                "seconds": round(run.seconds, 3),
                "tokens": int(run.tokens),
                "worker": run.worker,
            }
            for run in runs
        ],
        "digest": next(filter(None, map(digest_of, runs)), ""),
    }
