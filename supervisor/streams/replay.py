"""Starts a run over from its dead letter: with its id, and a new count of attempts.

A letter has its credentials masked. The original payload is taken from the entry while that
stands in its stream; after that, each masked key must be given again.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.streams import inspect
from supervisor.streams.dead_letters import Letter, is_entry_id
from supervisor.streams.inspect import looking
from supervisor.streams.keys import NORMAL, PRIORITIES
from supervisor.streams.orders import is_of_run
from supervisor.streams.publish import Publication, Published, publish
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded
from supervisor.streams.wire import Entry, Rejected, Request, parse
from worker.errors import CrewpoolError
from worker.redact import MASK

# Every publication writes these anew.
_OURS = ("payload", "published_at", "schema_version", "attempt")
MOST_FIELDS = 1000


class CannotReplay(CrewpoolError):  # noqa: N818  # named for what happened
    """A dead letter that cannot be started over as it stands. Nothing was changed."""

    def __init__(self, letter: Letter, why: str, next_step: str = "") -> None:
        self.letter = letter
        self.why = why
        self.next_step = next_step
        super().__init__(f"Dead letter {letter.id} was not replayed: {why}")


@dataclass(frozen=True)
class Source:
    """What to publish again: the fields of the entry, or of the letter where that is gone."""

    fields: Mapping[str, str]
    stream: str
    is_original: bool


async def replay(
    queue: Queue, letter: Letter, secrets: Mapping[str, str], *, is_forced: bool
) -> Published:
    """Publish the run of a letter again, and take the letter away in the same step.

    Raises CannotReplay, and what publish() raises. `secrets` replaces credentials.
    """
    run_id = letter.run_id
    if run_id and not is_forced and await inspect.has_result(queue, run_id):
        raise _has_result(letter, run_id)
    source = await _source_of(queue, letter)
    payload, request = _asked(letter, source, secrets, queue.limits.max_payload_bytes)
    published = await publish(
        queue,
        Publication(
            request,
            payload,
            PRIORITIES[await _level_of(queue, source, request.run_id)],
            letter=letter.id,
            is_forced=is_forced,
            more_fields=_foreign(source),
        ),
    )
    if published.what == "ended":
        raise _has_result(letter, request.run_id)
    if published.what == "known":
        told = f"run {request.run_id} is on again already ({published.state or 'pending'})"
        raise CannotReplay(letter, f"{told}.", f"crewpool explain {request.run_id}")
    if published.what == "gone":
        raise CannotReplay(letter, "it was replayed or purged meanwhile.", "crewpool dlq list")
    return published


def _has_result(letter: Letter, run_id: str) -> CannotReplay:
    return CannotReplay(
        letter,
        f"run {run_id} has its result, and the application will see a second one for it.",
        f"crewpool dlq replay {letter.id} --force",
    )


async def _source_of(queue: Queue, letter: Letter) -> Source:
    """Return the original entry, if it stands in its stream and is of the same run."""
    stream, entry_id = letter.fields.get("stream", ""), letter.fields.get("entry_id", "")
    if stream in queue.keys.streams and is_entry_id(entry_id):
        async with looking(queue.client, f"XRANGE {stream}"):
            found = decoded(await queue.client.xrange(stream, min=entry_id, max=entry_id))
        fields = found[0][1] if found else {}
        if fields and (not letter.run_id or is_of_run(fields.get("payload", ""), letter.run_id)):
            return Source(fields, stream, is_original=True)
    fields = {"payload": letter.payload, **letter.foreign}
    return Source(fields, stream, is_original=False)


def _asked(
    letter: Letter, source: Source, secrets: Mapping[str, str], most_bytes: int
) -> tuple[str, Request]:
    """Return the payload to publish and what it asks for. Raises CannotReplay."""
    payload = source.fields.get("payload", "")
    request = _parsed(letter, source, payload, most_bytes)
    body = json.loads(payload)
    settings = {**(body.get("settings") or {}), **secrets}
    if not source.is_original:
        _refuse_masked(letter, settings)
        # A masked key beside the settings is nothing that a run is made of.
        body = {key: value for key, value in body.items() if value != MASK}
    if secrets or not source.is_original:
        payload = json.dumps({**body, "settings": settings}, allow_nan=False)
        request = _parsed(letter, source, payload, most_bytes)
    return payload, request


def _parsed(letter: Letter, source: Source, payload: str, most_bytes: int) -> Request:
    size = len(payload.encode("utf-8", "surrogateescape"))
    fields = {**source.fields, "payload": payload}
    asked = parse(Entry("", "", fields, size, is_whole=size <= most_bytes), most_bytes)
    if isinstance(asked, Rejected):
        raise CannotReplay(letter, f"it would be buried again: {asked.error}.")
    if asked.run_id == MASK:
        raise CannotReplay(letter, "its run id is masked, and its entry is gone.")
    return asked


def _refuse_masked(letter: Letter, settings: Mapping[str, Any]) -> None:
    """Refuse a run without its credentials: the crew would fail for the want of them."""
    masked = sorted(_masked_in(settings))
    if not masked:
        return
    given = [path for path in masked if "." not in path and path.startswith("_")]
    if given != masked:
        lost = ", ".join(path for path in masked if path not in given)
        told = f"its entry is gone, and the letter has {lost} masked."
        raise CannotReplay(letter, told, "crewpool submit, with all of its settings")
    options = " ".join(f"--secret {key}=VARIABLE" for key in masked)
    told = f"its entry is gone, and the letter has {', '.join(masked)} masked."
    raise CannotReplay(letter, told, f"the same command with {options}")


def _masked_in(value: Any, path: str = "") -> Iterator[str]:
    if value == MASK:
        yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, part in value.items() if isinstance(value, dict) else ():
        yield from _masked_in(part, f"{path}.{key}" if path else str(key))


async def _level_of(queue: Queue, source: Source, run_id: str) -> int:
    """Return the level that the run had, normal where nobody knows."""
    streams = queue.keys.request_streams
    if source.stream in streams:
        return streams.index(source.stream)
    levels = [str(level) for level in range(len(PRIORITIES))]
    if (level := source.fields.get("crewpool_level", "")) in levels:
        return int(level)
    priority = (await inspect.record(queue, run_id)).get("priority", "")
    return PRIORITIES.index(priority) if priority in PRIORITIES else NORMAL


def _foreign(source: Source) -> dict[str, str]:
    kept = {
        name: value
        for name, value in source.fields.items()
        if name not in _OURS and not name.startswith("crewpool_")
    }
    return dict(list(kept.items())[:MOST_FIELDS])
