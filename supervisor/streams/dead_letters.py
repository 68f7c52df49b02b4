"""The dead letters: found, counted and purged. How one is replayed stands in replay.py.

For commands. What stands in a letter was written by many hands; every property here takes
whatever it finds.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from supervisor.streams.inspect import looking
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded
from supervisor.streams.wire import run_id_in
from worker.redact import MASK

PAGE = 50
# Ids of one XDEL.
PURGED_AT_A_TIME = 500
_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_MOST = 2**64 - 1
# What a letter says of itself (verdicts.py). All else stood in the entry, or is its payload.
OURS = (
    *("reason", "class", "attempts", "last_error", "stack", "worker", "code", "receipt"),
    *("post_mortem", "entry_id", "stream", "payload_bytes", "died_at"),
)


@dataclass(frozen=True)
class Letter:
    """One dead letter: an entry that could not be run, and why."""

    id: str
    fields: Mapping[str, str]

    @property
    def buried_at(self) -> float:
        """When it was written, by the server's clock."""
        return int(self.id.partition("-")[0]) / 1000

    @cached_property
    def body(self) -> dict[str, Any]:
        """The payload, credentials masked; {} where it is no object."""
        try:
            body = json.loads(self.payload)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def payload(self) -> str:
        """The text of the payload, credentials masked."""
        return self.fields.get("payload", "")

    @property
    def run_id(self) -> str:
        """The run, "" where none can be read."""
        run_id = self.body.get("plugin_run_id") if self.body else run_id_in(self.payload)
        return run_id if isinstance(run_id, str) and run_id != MASK else ""

    @property
    def plugin(self) -> str:
        """The plugin, "" where none can be read."""
        name = self.body.get("plugin_name")
        return name if isinstance(name, str) else ""

    @property
    def cause(self) -> str:
        """The class of the end."""
        return self.fields.get("class", "")

    @property
    def facts(self) -> dict[str, str]:
        """What it says of the burial."""
        return {name: self.fields[name] for name in OURS if name in self.fields}

    @property
    def foreign(self) -> dict[str, str]:
        """The fields of the entry beside its payload."""
        return {k: v for k, v in self.fields.items() if k not in OURS and k != "payload"}


@dataclass(frozen=True)
class Wanted:
    """Which letters are meant: "" and None for all. Ages in seconds."""

    plugin: str = ""
    cause: str = ""
    older_s: float | None = None
    newer_s: float | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is filtered."""
        return self == Wanted()

    def fits(self, letter: Letter) -> bool:
        """Whether it is meant, as far as its fields tell."""
        is_plugin = not self.plugin or letter.plugin == self.plugin
        return is_plugin and (not self.cause or letter.cause == self.cause)


def is_entry_id(text: str) -> bool:
    """Whether a server takes it for the id of an entry."""
    return bool(_ID.fullmatch(text)) and all(int(part) <= _MOST for part in text.split("-"))


async def letters(queue: Queue, wanted: Wanted) -> AsyncIterator[Letter]:
    """Yield the letters that are meant, the newest first. Raises RedisAway and Refused."""
    newest, oldest = await _bounds(queue, wanted)
    stream = queue.keys.dead_letters
    while True:
        async with looking(queue.client, f"XREVRANGE {stream}"):
            found = await queue.client.xrevrange(stream, max=newest, min=oldest, count=PAGE)
        page = decoded(found)
        for letter_id, fields in page:
            letter = Letter(letter_id, fields)
            if wanted.fits(letter):
                yield letter
        if len(page) < PAGE:
            return
        newest = f"({page[-1][0]}"


async def find(queue: Queue, name: str) -> Letter | None:
    """Return the letter of that id, else the newest one of the run of that id."""
    if is_entry_id(name):
        stream = queue.keys.dead_letters
        async with looking(queue.client, f"XRANGE {stream}"):
            page = decoded(await queue.client.xrange(stream, min=name, max=name))
        if page:
            return Letter(*page[0])
    return await of_run(queue, name)


async def of_run(queue: Queue, run_id: str) -> Letter | None:
    """Return the newest letter of a run."""
    async for letter in letters(queue, Wanted()):
        if letter.run_id == run_id:
            return letter
    return None


async def purge(queue: Queue, ids: Iterable[str]) -> int:
    """Remove letters for good; return how many were there."""
    left, removed, stream = list(ids), 0, queue.keys.dead_letters
    while left:
        some, left = left[:PURGED_AT_A_TIME], left[PURGED_AT_A_TIME:]
        async with looking(queue.client, f"XDEL {stream}"):
            removed += int(await queue.client.xdel(stream, *some))
    return removed


async def _bounds(queue: Queue, wanted: Wanted) -> tuple[str, str]:
    """Return the ids between which the ages lie, by the server's clock, which made the ids."""
    async with looking(queue.client, "TIME"):
        seconds, micros = await queue.client.time()
    now = seconds + micros / 1e6
    newest = "+" if wanted.older_s is None else f"{max(0, int((now - wanted.older_s) * 1000))}"
    oldest = "-" if wanted.newer_s is None else f"{max(0, int((now - wanted.newer_s) * 1000))}"
    return newest, oldest
