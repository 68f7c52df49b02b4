"""The only file that prints. stdout: the answer; stderr: the talk.

Colour, boxes and live lines only on a terminal; NO_COLOR is obeyed (rich does that). Texts
of others (crews, Redis, plugins) are printed as they are, never as markup, and without the
control characters that could steer a terminal.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from traceback import format_exc
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from supervisor.times import told

# All that could steer a terminal; newline and tab stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BEYOND_JSON = re.compile(r"[\x7f-\x9f\ud800-\udfff]")
# Nobody folds lines in a pipe: what is read by programs stays on one line.
WIDE = 4000


def prepare() -> None:
    """Let no character that the terminal cannot show end a command."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by something simpler than a file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # TextIO


@cache
def stdout() -> Console:
    """Return the console of answers."""
    return _console(sys.stdout)


@cache
def stderr() -> Console:
    """Return the console of the talk."""
    return _console(sys.stderr)


def is_terminal() -> bool:
    """Whether somebody looks at the answers."""
    return stdout().is_terminal


def talks_to_terminal() -> bool:
    """Whether somebody looks at the talk: then one live line instead of many."""
    return stderr().is_terminal


def answer(text: str = "", style: str = "") -> None:
    """Print a line of the answer."""
    # Never folded by us: what is copied out of a terminal shall be what was printed.
    stdout().print(Text(clean(text), style), soft_wrap=True)


def show(renderable: RenderableType, widest: int = WIDE) -> None:
    """Print a table or another part of the answer."""
    _print(stdout(), renderable, widest)


def answer_json(data: Any) -> None:
    """Print the answer for programs. `data` must be fit for JSON."""
    text = json.dumps(data, ensure_ascii=False, indent=2, default=str)
    # Legal in JSON, but not harmless on a terminal (or, as surrogates, no text at all).
    text = _BEYOND_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def answer_row(*cells: tuple[str, str]) -> None:
    """Print a row of texts with their styles; the last folds below itself."""
    _print(stdout(), _row(0, cells))


def talk_row(*cells: tuple[str, str]) -> None:
    """Print a row of the talk, indented."""
    _print(stderr(), _row(2, cells))


def talk(text: str = "", style: str = "") -> None:
    """Print a line of the talk."""
    _talk(Text(clean(text), style))


def fact(name: str, text: str) -> None:
    """Print a fact of the talk under its name; "" goes on with the one above."""
    _talk(Text(f"  {name:<8}", "bold").append(clean(text), "not bold"))


def command(text: str) -> None:
    """Print a command that can be pasted; it is never folded."""
    stderr().print(Text(f"  {clean(text)}", "cyan"), soft_wrap=True)


def failure(told: str, next_step: str) -> None:
    """Print an error: what happened, then what to try."""
    line = Text("crewpool: ", "bold red")
    line.append(clean(told).rstrip(), "default not bold")
    _talk(line)
    if next_step:
        _talk(Text("Next: ", "bold").append(clean(next_step), "not bold"))


def traceback() -> None:
    """Print the traceback of the exception in flight."""
    _talk(Text(clean(format_exc())))


def confirm(question: str) -> bool:
    """Ask somebody at a terminal; nobody there is a no."""
    if not (sys.stdin.isatty() and talks_to_terminal()):
        return False
    prompt = Text(f"{clean(question)} [y/N] ")
    try:
        return stderr().input(prompt).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print facts of the answer, one a line, under each other."""
    widest = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        line = Text(f"{clean(name):<{widest}}  ", "bold")
        line.append(clean(text).replace("\n", " "), "not bold")
        stdout().print(line, soft_wrap=True)


def status(text: str) -> Status:
    """Return a live line of the talk, to be used with `with`; nothing moves off a terminal."""
    return stderr().status(one_line(text), spinner="dots")


def live() -> Live:
    """Return a live part of the talk, to be started; it vanishes when it is stopped."""
    return Live(console=stderr(), transient=True, auto_refresh=False)


def styled(text: str, style: str) -> Text:
    """Return a text for a cell, as it is and in one style."""
    return Text(clean(text), style)


def one_line(text: str) -> Text:
    """Return a text for a live line: cut where the terminal ends, never folded."""
    return Text(clean(text).replace("\n", " "), no_wrap=True, overflow="ellipsis")


def table(
    *columns: str,
    right: Sequence[str] = (),
    fold: Sequence[str] = (),
    cut: Sequence[str] = (),
) -> Table:
    """Return a table without boxes. `right` are figures; where it gets narrow, `fold` take
    several lines, `cut` lose their ends, and all others stay whole.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            # Cells to be cut are texts of one_line(): they do not fold, the column gives way.
            no_wrap=column not in (*fold, *cut),
            overflow="fold" if column in fold else "ellipsis",
        )
    return made


def clean(text: str) -> str:
    """Return a text without control characters and lone surrogates."""
    text = text.encode("utf-8", "replace").decode()
    return _CONTROL.sub("", text.replace("\r\n", "\n"))


def size(count: float) -> str:
    """Return bytes as people say them.

    >>> size(0), size(734003200)
    ('0 B', '700 MB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def seconds(length_s: float) -> str:
    """Return a length of time as people say it.

    >>> seconds(4.25), seconds(75), seconds(7300), seconds(200000)
    ('4s', '1m 15s', '2h 1m', '2d 7h')
    """
    return told(length_s)


def _print(console: Console, renderable: RenderableType, widest: int = WIDE) -> None:
    """Print a renderable; programs that read it get no blanks at the ends of lines."""
    width = min(widest, console.width)
    if console.is_terminal:
        console.print(renderable, markup=False, highlight=False, width=width)
        return
    with console.capture() as captured:
        console.print(renderable, markup=False, highlight=False, width=width)
    for line in captured.get().rstrip("\n").split("\n"):
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _row(indent: int, cells: Sequence[tuple[str, str]]) -> Padding:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for number, _ in enumerate(cells, start=1):
        # Rows are tables of their own, one below the other: all but the last are as wide.
        grid.add_column(min_width=9 if number < len(cells) else None, overflow="fold")
    grid.add_row(*(styled(text, style) for text, style in cells))
    return Padding(grid, (0, 0, 0, indent), expand=False)


def _console(file: TextIO) -> Console:
    made = Console(file=file, highlight=False, emoji=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return Console(file=file, highlight=False, emoji=False, width=WIDE)


def _talk(text: Text) -> None:
    console = stderr()
    console.print(text, soft_wrap=not console.is_terminal)
