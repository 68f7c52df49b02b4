"""`crewpool doctor`: looks at all that a supervisor needs, and tells every problem at once."""

import os
from collections.abc import Iterator
from dataclasses import asdict

import typer

from supervisor.cli import (
    checks_host,
    checks_records,
    checks_redis,
    checks_workers,
    checks_zygote,
    failures,
    render,
)
from supervisor.cli.findings import Finding, Level, problem
from supervisor.cli.options import AsJson, with_queue
from supervisor.cli.preflight import (
    plugin_dir_trouble,
    redis_url_trouble,
    storage_trouble,
    worker_user_trouble,
)
from supervisor.configuration import load
from supervisor.errors import SettingsWrong
from supervisor.settings import Settings

STYLES = {Level.GOOD: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}

HELP = """Look at everything that a supervisor needs; tell all problems at once, with their cures.

Python and the package, settings and variables, plugins, the model's key, the folder for
CrewAI's files, the port of the probes, Redis (version, eviction, durability, permissions,
streams), run records and the gateway where they are configured, and the fork gate: the zygote is
started for real, which takes some seconds. Nothing is changed.

\b
Examples:
  crewpool doctor
  REDIS_URL=redis://redis:6379/0 crewpool doctor
  crewpool doctor --json | jq '.findings[] | select(.level == "problem")'
\b
Good news goes to stdout, warnings and problems to stderr.
Exit codes: 0 no problem, 1 at least one.
"""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(help=HELP)
def doctor(*, as_json: AsJson = False) -> None:
    """Look at it all."""
    found = []
    for finding in _findings():
        found.append(finding)
        if not as_json:
            _show(finding)
    count = {level: sum(f.level is level for f in found) for level in Level}
    is_well = count[Level.PROBLEM] == 0
    if as_json:
        render.answer_json({"ok": is_well, "findings": [asdict(finding) for finding in found]})
    elif is_well:
        render.answer(f"No problem found, {_counted(count[Level.WARNING], 'warning')}.")
    else:
        told = f"{_counted(count[Level.PROBLEM], 'problem')}, "
        render.failure(
            f"{told}{_counted(count[Level.WARNING], 'warning')}.", "mend them, then crewpool doctor"
        )
    raise typer.Exit(0 if is_well else failures.FAILED)


def _findings() -> Iterator[Finding]:
    yield from checks_host.of_installation()
    yield from checks_host.of_environment(os.environ)
    try:
        settings = load()
    except SettingsWrong as error:
        for told in error.problems:
            yield problem("settings", told, "mend it; what depends on it was not looked at")
        return
    yield from checks_host.of_settings(settings)
    yield from checks_workers.of_workers(settings, os.environ)
    if trouble := redis_url_trouble(settings):
        yield problem("redis", *trouble)
    else:
        yield from _of_redis(settings)
    yield from checks_records.of_records(settings)
    yield from checks_records.of_gateway(settings)
    in_the_way = (plugin_dir_trouble, storage_trouble, worker_user_trouble)
    if not any(trouble(settings) for trouble in in_the_way):
        with render.status("starting the zygote: CrewAI and the plugins are imported"):
            found = checks_zygote.of_zygote(settings, os.environ)
        yield from found


def _of_redis(settings: Settings) -> list[Finding]:
    return with_queue(lambda queue: checks_redis.of_redis(queue, settings), settings)


def _show(finding: Finding) -> None:
    level = (finding.level.value, STYLES[finding.level])
    if finding.level is Level.GOOD:
        render.answer_row(level, (finding.topic, "bold"), (finding.said, ""))
        return
    render.talk_row(level, (finding.topic, "bold"), (finding.said, ""))
    render.talk_row(("", ""), ("cure", "bold"), (finding.cure, ""))


def _counted(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"
