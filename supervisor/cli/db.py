"""`crewpool db`: the tables of the run records, and the key of their outbox."""

from pathlib import Path
from typing import Annotated

import typer

from supervisor.cli import render
from supervisor.cli.options import AsJson
from supervisor.configuration import load
from supervisor.runs.records import key_maker, open_store

UPGRADE_HELP = """Bring the tables of the run records to the version of this crewpool.

All or nothing, and safe to repeat. A SQLite file is upgraded by itself when it is opened; for a
PostgreSQL, run this after each update of crewpool, before the applications start.

\b
Examples:
  CREWPOOL_RECORDS_URL=postgresql://app@db/app crewpool db upgrade
\b
Database: CREWPOOL_RECORDS_URL (see crewpool config show).
"""
KEY_HELP = """Make a file with a key that seals credentials until their run is published.

Only its owner may read it. Name it in CREWPOOL_OUTBOX_KEY_FILE wherever runs are dispatched to
the same database, the same file everywhere. Beside a SQLite file it is made by itself.

\b
Examples:
  crewpool db key /etc/crewpool/outbox.key
"""

app = typer.Typer(
    help="Look after the run records.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("upgrade", help=UPGRADE_HELP, short_help="Bring the tables to our version.")
def upgrade(*, as_json: AsJson = False) -> None:
    """Upgrade the tables."""
    with open_store(load()) as store:
        before, after = store.upgrade()
        if as_json:
            render.answer_json({"database": store.where, "before": before, "after": after})
            return
        render.answer(
            f"{store.where} was at {before or 'no version'}, and is at {after}"
            if before != after
            else f"{store.where} is at {after} already"
        )


@app.command("key", help=KEY_HELP, short_help="Make a key for the outbox.")
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="It must not be there.")],
) -> None:
    """Make a key."""
    key_maker()(file)
    render.answer(f"{file} holds a new key")
