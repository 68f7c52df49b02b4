"""`crewpool explain`: where a run is, since when, what blocks it, and what comes next."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from supervisor.cli import kept, render
from supervisor.cli.failures import CommandFailed
from supervisor.cli.options import AsJson, with_queue
from supervisor.configuration import load
from supervisor.errors import RedisAway
from supervisor.explaining.facts import Facts
from supervisor.explaining.places import explain as sentences_of
from supervisor.retries import policy_for
from supervisor.settings import Settings
from supervisor.streams import dead_letters, inspect
from supervisor.streams.located import Located, locate
from supervisor.streams.queue import Queue
from worker.errors import PluginBroken
from worker.plugins import NAME, Manifest
from worker.plugins import load as load_plugin
from worker.policies import CAUSES

HELP = """Say where a run is, since when, what blocks it and what will happen next.

One sentence a fact, from the keys that decide and not from the run's record alone. Limits
and retries are those of the plugin in PLUGIN_DIR here, where it stands there.

\b
Examples:
  crewpool explain 3f1c0a52-9f0e-4f0e-8f39-1c2d3e4f5a6b
  crewpool explain RUN --json | jq -r .place
\b
Places: queued, delayed, parked, running, ended, gone (its entry was removed), unknown; and
waiting, in the outbox of CREWPOOL_RECORDS_URL, which is asked of runs that Redis does not know.
Exit codes: 0 explained, 1 not known.
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def explain(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Its id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Explain it."""
    settings = load()
    try:
        facts = with_queue(lambda queue: _facts(queue, run_id, settings), settings)
    except RedisAway as away:
        if (told := kept.place_of(settings, run_id)) is None:
            raise
        render.talk(f"{away} This is what the database tells.")
        data, place, sentences = {}, told.name, list(told.sentences)
    else:
        sentences, place = sentences_of(facts), facts.run.place
        data = _as_data(facts)
        if place == "unknown" and (told := kept.place_of(settings, run_id)) is not None:
            place, sentences = told.name, list(told.sentences)
    if as_json:
        said = {"run_id": run_id, "place": place, "sentences": sentences}
        render.answer_json({**said, "facts": data})
    if place == "unknown":
        raise CommandFailed(" ".join(sentences), "crewpool runs list")
    if not as_json:
        for sentence in sentences:
            render.answer(sentence)


async def _facts(queue: Queue, run_id: str, settings: Settings) -> Facts:
    run = await locate(queue, run_id)
    hosts = await inspect.hosts(queue)
    letter_id, has_entry = "", None
    if run.place == "ended":
        has_entry = await inspect.find_result(queue, run_id) is not None
        letter = await dead_letters.of_run(queue, run_id)
        letter_id = letter.id if letter else ""
    manifest = await asyncio.to_thread(_manifest, settings.plugin_dir, run.plugin.name)
    return Facts(
        run,
        hosts,
        manifest.limits if manifest else None,
        {cause: policy_for(manifest, settings, cause) for cause in CAUSES},
        settings.lease_s,
        queue.keys.results,
        letter_id,
        has_entry,
    )


def _manifest(folder: Path, name: str) -> Manifest | None:
    """Return what the plugin says of itself; None where it does not stand here, or is broken."""
    if not NAME.fullmatch(name) or not (folder / name).is_dir():
        return None
    try:
        return load_plugin(folder / name).manifest
    except PluginBroken:
        return None


def _as_data(facts: Facts) -> dict[str, Any]:
    run: Located = facts.run
    return {
        **asdict(run),
        "attempts": [asdict(attempt) for attempt in facts.attempts],
        "alive": [host.host for host in facts.alive],
        "dead_letter": facts.letter_id or None,
        "has_entry": facts.has_entry,
    }
