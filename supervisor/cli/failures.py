"""How errors end a command: what happened, the next command to try, and the exit code.

Called by app.py at the outermost edge. Only bugs come with a traceback.
"""

from supervisor.cli import render
from supervisor.errors import Exit, RedisAway, RedisTooOld, SettingsWrong
from worker.errors import CrewpoolError

FAILED = 1
NO_RESULT_IN_TIME = 124
INTERRUPTED = 130

_RUN_EXIT_CODES = """
\b
Exit codes:
  0   clean{more}
  2   bad settings
  3   workers cannot boot, and would fail again
  4   the drain ran out, or was cut short: runs were handed back
  70  a bug in crewpool
"""


def run_exit_codes(*more: str) -> str:
    """Return the exit codes of a supervisor for a help text, with those of one command."""
    return _RUN_EXIT_CODES.format(more="".join(f"\n  {line}" for line in more))


class CommandFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """A command that could not do what it was asked for.

    next_step   the command to try now, without "Next:"
    exit_code   1 unless something better is known
    """

    def __init__(self, told: str, next_step: str = "", exit_code: int = FAILED) -> None:
        self.next_step = next_step
        self.exit_code = exit_code
        super().__init__(told)


class UsageWrong(CommandFailed):
    """The command line asks for something that cannot be."""

    def __init__(self, told: str, next_step: str) -> None:
        super().__init__(told, next_step, Exit.BAD_SETTINGS)


def tell(error: CrewpoolError) -> int:
    """Say what went wrong; return the exit code."""
    next_step = _next_step(error)
    render.failure(str(error), next_step)
    return _code(error)


def tell_bug() -> int:
    """Show the traceback of the exception in flight; return the exit code."""
    render.traceback()
    render.failure(
        "This is a bug in crewpool, not in your settings.",
        "report it with the lines above and the output of `crewpool doctor`",
    )
    return Exit.BUG


def _code(error: CrewpoolError) -> int:
    if isinstance(error, CommandFailed):
        return error.exit_code
    is_of_settings = isinstance(error, SettingsWrong | RedisTooOld)
    if is_of_settings or getattr(error, "is_of_settings", False):
        return Exit.BAD_SETTINGS
    return FAILED


def _next_step(error: CrewpoolError) -> str:
    if (known := getattr(error, "next_step", None)) is not None:
        return str(known)
    if isinstance(error, RedisAway):
        return "crewpool doctor, or crewpool up for a server of its own"
    # The embedded parts say themselves what to do about them.
    is_embedded = type(error).__module__.startswith("supervisor.embedded")
    return "" if is_embedded else "crewpool doctor"
