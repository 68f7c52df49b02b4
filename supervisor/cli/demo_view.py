"""How the demo is seen: a live table on a terminal, else a line for each step, and the
closing account. It is told what to show and asks nobody.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.table import Table

from supervisor.cli import render, wording
from supervisor.cli.demo_runs import DemoRun

STYLES = {"completed": "green", "failed": "yellow", "running": "cyan", "waiting": "dim"}
IMPORTING = "CrewAI is being imported, once. Workers are then forked from that, in milliseconds."


class View:
    """Shows the runs as they go on."""

    def __init__(self, runs: Sequence[DemoRun]) -> None:
        self._runs = runs
        self._live = render.live() if render.talks_to_terminal() else None
        self._last: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        self.update()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self) -> None:
        """Show what has changed."""
        if self._live:
            waits = all(run.state == "waiting" for run in self._runs)
            note = render.styled(IMPORTING if waits else "", "dim")
            self._live.update(Group(_live_table(self._runs), note), refresh=True)
            return
        for run in self._runs:
            step = (run.state, wording.phase(run.record) if run.state == "running" else "")
            if step != self._last.get(run.run_id):
                self._last[run.run_id] = step
                told = "  ".join(filter(None, step))
                render.talk(f"{run.run_id:<16} {run.plugin:<18} {told}  {_seconds(run)}".rstrip())


def _live_table(runs: Sequence[DemoRun]) -> Table:
    table = render.table(
        "RUN", "PLUGIN", "STATE", "PHASE", "SECONDS", right=("SECONDS",), cut=("PHASE",)
    )
    # Wide enough from the start, or the columns would jump as runs go on.
    for column, width in (("STATE", 9), ("PHASE", 36), ("SECONDS", 9)):
        next(c for c in table.columns if c.header == column).min_width = width
    for run in runs:
        phase = wording.phase(run.record) if run.state == "running" else run.told_error
        table.add_row(
            run.run_id,
            run.plugin,
            render.styled(run.state, STYLES.get(run.state, "")),
            render.one_line(phase),
            _seconds(run) + _allowed(run),
        )
    return table


def closing_tables(runs: Sequence[DemoRun]) -> list[Table]:
    """Return the account: one row a run, and the errors of those that failed."""
    account = render.table(
        *("RUN", "PLUGIN", "ASKED FOR", "RESULT", "SECONDS", "TOKENS", "WORKER"),
        right=("SECONDS", "TOKENS"),
        fold=("ASKED FOR",),
    )
    errors = render.table("FAILED", "BECAUSE", fold=("BECAUSE",))
    for run in runs:
        account.add_row(
            run.run_id,
            run.plugin,
            run.asked,
            render.styled(run.state, STYLES.get(run.state, "")),
            _seconds(run),
            wording.told_tokens(run.tokens),
            run.slot or "none",
        )
        if run.told_error:
            errors.add_row(run.run_id, render.styled(run.told_error, ""))
    return [account, errors] if errors.row_count else [account]


def _seconds(run: DemoRun) -> str:
    return f"{run.seconds:.1f}" if run.seconds else ""


def _allowed(run: DemoRun) -> str:
    limit = wording.number(run.record, "timeout_s")
    return f" of {limit:g}" if limit and run.state == "running" else ""
