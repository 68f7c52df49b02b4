"""`crewpool ctl`: tells supervisors on any host what to do, and shows what they answer."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import typer

from supervisor.addresses import without_password
from supervisor.cli import failures, hosts, render
from supervisor.cli.failures import CommandFailed, UsageWrong
from supervisor.cli.options import AsJson, with_queue
from supervisor.configuration import load
from supervisor.settings import Settings
from supervisor.streams import asking, inspect
from supervisor.streams.asking import Heard
from supervisor.streams.messages import MOST_WORKERS, Order
from supervisor.streams.queue import Queue

TIMEOUT_S = 5.0
# A reload ends when the plugins are imported, which takes seconds.
RELOAD_TIMEOUT_S = 60.0
_CODES = """
A HOST is the name of a supervisor, or as much of it as only one has (crewpool hosts).

\b
Exit codes:
  0  all of them did it
  1  at least one refused, or did not answer in time
  2  there is no such supervisor, or more than one: nothing was sent
"""
HELP = f"""Tell supervisors what to do, wherever they run, and wait for their answers.

\b
Examples:
  crewpool ctl ping --all
  crewpool ctl pause vm-1 --reason "new disk"
  crewpool ctl drain vm-1-4f2a vm-2
  crewpool ctl scale 8 vm-1
{_CODES}"""

Hosts = Annotated[list[str] | None, typer.Argument(metavar="HOST", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All supervisors that are alive.")]
TimeoutS = Annotated[
    float,
    typer.Option("--timeout", metavar="S", min=0.1, max=3600, help="How long to wait for answers."),
]

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


class Whom(NamedTuple):
    """Which supervisors are meant, as it stands on the command line."""

    names: Sequence[str]
    every: bool


def _simple(kind: str, told: str, usual_s: float = TIMEOUT_S) -> None:
    """Make a command of an order that needs no words but its own."""

    @app.command(kind, help=f"{told}\n{_CODES}", short_help=told)
    def command(
        names: Hosts = None,
        *,
        every: Every = False,
        timeout_s: TimeoutS = usual_s,
        as_json: AsJson = False,
    ) -> None:
        _tell(Order(kind, 0), Whom(names or (), every), timeout_s, as_json=as_json)


_simple("ping", "Ask them how they are.")


@app.command(
    help=f"Let them take no new runs; what runs goes on.\n{_CODES}",
    short_help="Let them take no new runs; what runs goes on.",
)
def pause(
    names: Hosts = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; crewpool hosts and the probe tell it.")] = "",
    every: Every = False,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Pause supervisors."""
    _tell(Order("pause", 0, reason=reason), Whom(names or (), every), timeout_s, as_json=as_json)


_simple("resume", "Let them take runs again.")
_simple("drain", "Let them finish what runs, hand back the rest, and leave.")
_simple(
    "reload",
    "Let them load the plugins' code anew, as HUP does; the old stays if that fails.",
    RELOAD_TIMEOUT_S,
)


@app.command(
    help=f"Give them so many workers each, 0 to {MOST_WORKERS}.\n{_CODES}",
    short_help="Give them so many workers each.",
)
def scale(
    workers: Annotated[int, typer.Argument(metavar="N", min=0, max=MOST_WORKERS)],
    names: Hosts = None,
    *,
    every: Every = False,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Scale supervisors."""
    _tell(Order("scale", 0, workers=workers), Whom(names or (), every), timeout_s, as_json=as_json)


def _tell(order: Order, whom: Whom, timeout_s: float, *, as_json: bool) -> None:
    settings = load()
    url = settings.redis_address

    async def telling(queue: Queue) -> list[Heard]:
        chosen = _chosen(whom, await inspect.hosts(queue, hosts.oldest()), settings)
        return await asking.ask(queue, url, chosen, order, timeout_s)

    heard = with_queue(telling, settings)
    if as_json:
        render.answer_json([_as_data(one) for one in heard])
    else:
        _show(heard, timeout_s)
    if not all(one.reply and one.reply.ok for one in heard):
        raise typer.Exit(failures.FAILED)


def _chosen(whom: Whom, found: Sequence[inspect.HostSeen], settings: Settings) -> list[str]:
    """Return the names that are meant. Raises UsageWrong, and then nothing has been sent."""
    living = sorted(host.host for host in found if host.snapshot)
    if not living:
        where = without_password(settings.redis_url.get_secret_value())
        raise CommandFailed(f"No supervisor is alive on {where}", "crewpool up, or crewpool run")
    if bool(whom.names) == whom.every:
        told = "Both names and --all are given" if whom.every else "No supervisor is named"
        raise UsageWrong(f"{told}. Alive are: {', '.join(living)}", "name some of them, or --all")
    if whom.every:
        return living
    return list(dict.fromkeys(_the_one(name, living) for name in whom.names))


def _the_one(name: str, living: Sequence[str]) -> str:
    matching = [host for host in living if name and host.startswith(name)]
    if name in living:
        return name
    if len(matching) == 1:
        return matching[0]
    if matching:
        told = f"{name} is the beginning of several: {', '.join(matching)}"
        raise UsageWrong(told, "the same with one whole name, or with all of them")
    told = f"No living supervisor's name is or begins with {name!r}. Alive are: {', '.join(living)}"
    raise UsageWrong(told, "crewpool hosts, which shows the dead ones, too")


def _as_data(one: Heard) -> dict[str, Any]:
    if one.reply is None:
        return {"host": one.host, "answered": False, "ok": False}
    facts = {"ok": one.reply.ok, "text": one.reply.text, "after_ms": round(one.after_s * 1000, 1)}
    return {"host": one.host, "answered": True, **facts, "facts": dict(one.reply.facts)}


def _show(heard: Sequence[Heard], timeout_s: float) -> None:
    table = render.table("HOST", "ANSWER", "AFTER", right=("AFTER",), fold=("ANSWER",))
    for one in heard:
        host = render.clean(one.host)
        if one.reply is None:
            told = f"none within {timeout_s:g}s; it does it when it hears of it"
            table.add_row(host, render.styled(told, "red"), "")
            continue
        said = one.reply.text if one.reply.ok else f"refused: {one.reply.text}"
        style = "" if one.reply.ok else "red"
        table.add_row(host, render.styled(said, style), f"{one.after_s * 1000:.0f} ms")
    render.show(table)
