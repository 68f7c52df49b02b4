"""Publishes runs the way an application does, and safer: one script that adds a run once,
however often it is called, now or later, and refuses what there is no room for.

For `crewpool submit`, the demo and the dead letters' replay.
"""

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from supervisor.errors import RedisAway
from supervisor.streams.connection import answering
from supervisor.streams.inspect import Refused, looking
from supervisor.streams.keys import PRIORITIES
from supervisor.streams.queue import Queue, ms
from supervisor.streams.wire import Request, entry_fields, without_any_credentials
from worker.errors import CrewpoolError

TRIES = 3


class QueueFull(CrewpoolError):  # noqa: N818  # named for what happened
    """As many runs wait as may wait. Nothing was added, and nothing was lost."""

    def __init__(self, run_id: str, waiting: int, most: int) -> None:
        self.run_id = run_id
        self.waiting = waiting
        self.next_step = "publish it later, or start more workers (crewpool workers)"
        super().__init__(
            f"Run {run_id} was not published: {waiting} runs wait, and at most {most} may "
            "(CREWPOOL_MAX_WAITING)."
        )


class PublishUncertain(CrewpoolError):  # noqa: N818  # named for what happened
    """The connection broke between the command and its reply, and did not come back."""

    def __init__(self, run_id: str, away: RedisAway) -> None:
        self.run_id = run_id
        super().__init__(
            f"Whether run {run_id} was published is not known: {away}. It is safe to submit it "
            f"again with --run-id {run_id}: a run that is known is not started again."
        )


@dataclass(frozen=True)
class Publication:
    """What to publish, when, and how urgently.

    `at` is unix time, `delay_s` a length from now: one of them, or none for at once.
    `unique_for_s` keeps other runs of the same plugin, user and settings out for so long, at
    most until this one ends. `letter` is the id of the dead letter that this starts over, and
    that goes with it; `is_forced` does so although the run has a result, and makes a second.
    """

    request: Request
    payload: str
    priority: str = "normal"
    at: float | None = None
    delay_s: float = 0.0
    unique_for_s: float | None = None
    letter: str = ""
    is_forced: bool = False
    more_fields: dict[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether a simple XADD would do the same."""
        is_now = self.at is None and not self.delay_s
        return is_now and self.unique_for_s is None and not self.letter

    @property
    def unique(self) -> str:
        """The digest that two runs share which are the same but for their ids.

        SHA-256 over plugin, user and settings without credentials, as sorted JSON.
        """
        request = self.request
        settings = without_any_credentials(_without_their_keys(dict(request.settings)))
        body = json.dumps([request.plugin, request.user_id, settings], sort_keys=True)
        return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:40]


@dataclass(frozen=True)
class Published:
    """What became of it: published, delayed, known, ended, unique or gone.

    `run_id` is that of the other run where `what` is unique. `state` is what the record says
    of a run that is known or has ended. Gone is a dead letter that is not there any more.
    """

    what: str
    run_id: str
    entry_id: str = ""
    due_at: float | None = None
    state: str = ""


async def publish(queue: Queue, publication: Publication) -> Published:
    """Publish a run once. Safe to repeat after any error.

    Raises RedisAway when nothing was sent, PublishUncertain when nobody knows, QueueFull,
    and Refused.
    """
    run_id = publication.request.run_id
    # By itself, so that a server which is simply not there leaves no doubt.
    async with looking(queue.client, "PING"):
        await queue.client.ping()
    try:
        what, detail = await _call(queue, publication)
    except NoPermissionError as error:
        # An application's user, which may add entries and run no scripts.
        if not publication.is_plain:
            raise Refused("EVALSHA", error) from None
        stream = queue.keys.request_streams[PRIORITIES.index(publication.priority)]
        what, detail = "published", await add_plainly(queue, stream, run_id, publication.payload)
    except RedisError as error:
        raise Refused("EVALSHA", error) from None
    if what == "full":
        raise QueueFull(run_id, int(detail), queue.limits.max_waiting)
    if what == "published":
        return Published(what, run_id, entry_id=detail)
    if what == "delayed":
        return Published(what, run_id, due_at=int(detail) / 1000)
    return Published(what, detail) if what == "unique" else Published(what, run_id, state=detail)


async def _call(queue: Queue, publication: Publication) -> tuple[str, str]:
    words = _words(queue, publication)
    request, unique = publication.request, publication.unique
    keys = (*queue.keys.of_run(request.run_id, unique), queue.keys.dead_letters)
    for attempt in range(1, TRIES + 1):
        try:
            what, detail = await queue.call("publish", keys, words)
        except RedisAway as away:
            if attempt == TRIES:
                raise PublishUncertain(request.run_id, away) from None
            continue
        if attempt > 1 and what == "known":
            # It is there because of the call whose reply was lost.
            return _as_first_told(publication, str(detail))
        return str(what), str(detail)
    raise AssertionError


def _without_their_keys(value: Any) -> Any:
    """Leave out what begins with `_`: with or without a credential it is the same run."""
    if isinstance(value, dict):
        return {k: _without_their_keys(v) for k, v in value.items() if not k.startswith("_")}
    return [_without_their_keys(part) for part in value] if isinstance(value, list) else value


def _as_first_told(publication: Publication, state: str) -> tuple[str, str]:
    if state != "delayed":
        return "published", ""
    due = publication.at if publication.at is not None else time.time() + publication.delay_s
    return "delayed", ms(due)


def _words(queue: Queue, publication: Publication) -> list[str]:
    request, limits = publication.request, queue.limits
    due = f"@{ms(publication.at)}" if publication.at is not None else ms(publication.delay_s)
    life_s = publication.unique_for_s
    unique = str(max(1, int(life_s))) if life_s is not None else ""
    ours = entry_fields(publication.payload)
    fields = {**ours, **publication.more_fields, **ours}  # what is ours stands first, and wins
    if unique:
        fields["crewpool_unique"] = publication.unique
    record = {
        "plugin": request.plugin,
        "priority": publication.priority,
        "user_id": str(request.user_id),
        "published_at": f"{time.time():.3f}",
        "digest": publication.unique,
    }
    if unique:
        record["unique"] = publication.unique
    if publication.letter:
        record["replayed_at"] = record["published_at"]
    level = str(PRIORITIES.index(publication.priority))
    words = [queue.keys.group, request.run_id, level, due, str(limits.max_waiting), unique]
    words += [str(limits.record_ttl_s), "1" if publication.is_forced else "0", request.plugin]
    words += [
        publication.letter,
        str(2 * len(fields)),
        *(word for pair in fields.items() for word in pair),
    ]
    return words + [word for pair in record.items() for word in pair]


async def add_plainly(queue: Queue, stream: str, run_id: str, payload: str) -> str:
    """Add an entry as an application without crewpool does: one XADD, tried once.

    A repeated XADD whose reply was lost is a second entry (trap R1), so what is not known is
    said instead of tried again. Returns the entry's id.
    """
    fields: dict[Any, Any] = dict(entry_fields(payload))
    try:
        async with answering(queue.client):
            entry_id = await queue.client.xadd(stream, fields)
    except RedisAway as away:
        raise PublishUncertain(run_id, away) from None
    except RedisError as error:
        raise Refused(f"XADD {stream}", error) from None
    return entry_id.decode() if isinstance(entry_id, bytes) else str(entry_id)
