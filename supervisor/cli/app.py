"""The root command: knows the name and the one-line help of each command, and loads its
module only when it is called.

It is also the edge where errors become exit codes. It must not import anything heavy.
"""

import importlib
import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from supervisor import __version__
from supervisor.cli import failures, render
from worker.errors import CrewpoolError

COMMANDS = {
    "demo": "See it work: all embedded, every run accounted for.",
    "up": "Run a supervisor here, with all that it needs.",
    "run": "Run a supervisor in production.",
    "submit": "Ask for a run of a plugin, and wait for it.",
    "cancel": "Cancel a run, wherever it is.",
    "runs": "Look at runs: which there are, and all about one.",
    "explain": "Say where a run is, what blocks it, what comes next.",
    "dlq": "Look at the dead letters, replay or purge them.",
    "workers": "Show what each worker is doing.",
    "hosts": "Show all supervisors, and which are alive.",
    "ctl": "Tell supervisors what to do, on any host.",
    "plugins": "Look at the plugins.",
    "config": "Look at the settings.",
    "gateway": "Take runs in over HTTP.",
    "results": "Take results in, publish what waits, fire schedules.",
    "schedule": "Run plugins over and over, by cron lines.",
    "db": "Look after the run records of an application.",
    "doctor": "Find all problems at once, each with its cure.",
    "health": "Ask the supervisor here whether it is ready.",
}
HELP = """Runs CrewAI crews from Redis streams: one process a crew, hard deadlines,
one result a run.

\b
  crewpool demo                                  see it work in half a minute
  crewpool up                                    a supervisor with all it needs
  crewpool submit hello --set name=Ada --wait    a run, from another terminal
  crewpool doctor                                what is missing for production
"""


class LazyGroup(TyperGroup):
    """Shows all commands, loads one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the real command in the place of its name and help."""
        name, stub, rest = super().resolve_command(ctx, args)
        if stub is None:
            return name, stub, rest
        module = importlib.import_module(f"supervisor.cli.{name}")
        return name, get_command(module.app), rest


app = typer.Typer(
    cls=LazyGroup,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        render.answer(f"crewpool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version  # told by its callback


for _name, _help in COMMANDS.items():
    # Never called: LazyGroup puts the real one in its place.
    app.command(_name, help=_help)(lambda: None)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Be the command `crewpool`. Every error ends here, as a paragraph and an exit code."""
    render.prepare()
    try:
        get_command(app)(arguments, prog_name="crewpool")
    except CrewpoolError as error:
        sys.exit(failures.tell(error))
    except BrokenPipeError:
        # Whoever read us has seen enough; Python's own flush at exit shall not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(failures.INTERRUPTED)
    except Exception:  # noqa: BLE001  # whatever is left is a bug of ours, and has its own code
        sys.exit(failures.tell_bug())
    sys.exit(0)
