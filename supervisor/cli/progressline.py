"""One line that tells how a run gets on: for `submit --wait` and `runs follow`."""

from collections.abc import Mapping
from typing import Self

from supervisor.cli import render, wording


class ProgressLine:
    """How a run gets on: one live line on a terminal, else a line for each step."""

    def __init__(self) -> None:
        self._live = render.status("publishing") if render.talks_to_terminal() else None
        self._last: object = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, facts: Mapping[str, str], text: str) -> None:
        """Tell where the run is."""
        if self._live:
            self._live.update(render.one_line(text))
            return
        step = (*wording.steps(facts), text if not facts.get("state") else "")
        if step != self._last:
            self._last = step
            render.talk(text)
