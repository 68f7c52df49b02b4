"""Dead letters as they are shown: a table, all about one, data for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from supervisor import lastmoments
from supervisor.cli import render
from supervisor.streams.dead_letters import Letter
from supervisor.streams.publish import Published
from supervisor.times import clock, told


@dataclass(frozen=True)
class Replayed:
    """What became of one letter: published, or why not."""

    letter: Letter
    published: Published | None
    why: str = ""
    next_step: str = ""


def table(letters: Sequence[Letter], now: float) -> Table:
    """Return them as a table."""
    made = render.table(
        *("ID", "AGE", "CLASS", "REASON", "ATTEMPTS", "PLUGIN", "RUN", "ERROR"),
        right=("ATTEMPTS",),
        cut=("REASON", "PLUGIN", "RUN", "ERROR"),
    )
    for letter in letters:
        made.add_row(
            letter.id,
            told(now - letter.buried_at),
            render.clean(letter.cause)[:16].replace("\n", " "),
            render.one_line(letter.fields.get("reason", "")),
            render.one_line(letter.fields.get("attempts", "")[:6]),
            render.one_line(letter.plugin),
            render.one_line(letter.run_id),
            render.one_line(letter.fields.get("last_error", "")),
        )
    return made


def show(letter: Letter, now: float) -> None:
    """Print all about one: facts, payload, stack."""
    facts = {name: text for name, text in letter.facts.items() if name not in ("stack", "died_at")}
    if told_of := lastmoments.told(lastmoments.read(facts.get("post_mortem", ""))):
        facts["post_mortem"] = told_of
    render.facts(
        [
            ("id", letter.id),
            ("run", letter.run_id or "none that can be read"),
            ("plugin", letter.plugin or "none that can be read"),
            ("buried", f"{clock(letter.buried_at)} ({told(now - letter.buried_at)} ago)"),
            *facts.items(),
            *letter.foreign.items(),
        ]
    )
    render.answer()
    render.answer("payload", "bold")
    text = json.dumps(letter.body, indent=2, ensure_ascii=False) if letter.body else letter.payload
    render.answer(text)
    if stack := letter.fields.get("stack"):
        render.answer()
        render.answer("stack", "bold")
        render.answer(stack)


def as_data(letter: Letter, *, is_whole: bool = False) -> dict[str, Any]:
    """Return it for programs; whole with payload and stack."""
    facts = {name: text for name, text in letter.facts.items() if name != "stack"}
    data: dict[str, Any] = {
        "id": letter.id,
        "run_id": letter.run_id or None,
        "plugin": letter.plugin or None,
        "buried_at": letter.buried_at,
        **facts,
    }
    if is_whole:
        data |= {"payload": letter.body or letter.payload, "stack": letter.fields.get("stack")}
        data["fields"] = letter.foreign
    return data


def tell_replayed(told: Sequence[Replayed]) -> None:
    """Say what became of each, and what can be done about those that were not."""
    if not told:
        render.talk("No dead letter fits.")
    for one in told:
        if one.published is not None:
            render.answer(f"{one.letter.id}  replayed as run {one.published.run_id}")
        elif len(told) == 1:
            render.failure(
                f"Dead letter {one.letter.id} was not replayed: {one.why}", one.next_step
            )
        else:
            render.talk(f"{one.letter.id}  not replayed: {one.why}", "red")
    if len(told) > 1:
        done = sum(one.published is not None for one in told)
        render.talk(f"{done} of {counted(len(told))} replayed.")
        steps = {
            one.next_step for one in told if one.published is None and "--secret" in one.next_step
        }
        if any("has its result" in one.why for one in told):
            steps.add("--force, if the application can take a second result")
        for step in sorted(steps):
            render.talk(f"Next: {step}")


def replayed_data(one: Replayed) -> dict[str, Any]:
    """Return what became of one for programs."""
    published = one.published
    return {
        "id": one.letter.id,
        "run_id": published.run_id if published else one.letter.run_id or None,
        "outcome": published.what if published else "refused",
        "entry_id": published.entry_id or None if published else None,
        "why": one.why or None,
    }


def counted(count: int) -> str:
    """Say how many dead letters."""
    return f"{count} dead letter{'' if count == 1 else 's'}"
