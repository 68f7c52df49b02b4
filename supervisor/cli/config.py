"""`crewpool config show`: each setting, where its value comes from, and how to change it."""

import os
from dataclasses import asdict

import typer

from supervisor.cli import render
from supervisor.cli.options import AsJson
from supervisor.configuration import load, origins, unknown_variables

HELP = """Show the value of each setting, where it comes from, and the variable that sets it.

The environment wins over the file, the file over the defaults. The file is ./crewpool.toml,
or the one that CREWPOOL_CONFIG names; its keys are the names in the first column.
Passwords are hidden.

\b
Examples:
  crewpool config show
  CREWPOOL_WORKERS=8 crewpool config show --json
"""

app = typer.Typer(
    help="Look at the settings.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


@app.callback()
def _group() -> None:
    """Be a group of one, so that others can join."""


@app.command("show", help=HELP, short_help="Show all settings and their origins.")
def show(*, as_json: AsJson = False) -> None:
    """Show all settings."""
    settings = load()
    rows = origins(settings)
    if as_json:
        render.answer_json([asdict(row) for row in rows])
    else:
        table = render.table("SETTING", "VARIABLE", "FROM", "VALUE", fold=("VALUE",))
        for row in rows:
            # What somebody has set stands out among the defaults.
            style = "" if row.origin == "default" else "bold"
            table.add_row(row.name, row.variable, row.origin, render.clean(row.value), style=style)
        render.show(table)
    for name in unknown_variables(os.environ):
        render.talk(f"{name} is set, and is no setting: misspelt?", "yellow")
