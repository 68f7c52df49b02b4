"""The run records of an application as commands show them: in the words of the records in Redis.

What Redis says of a run that is on is more exact, what the database says of one that has ended
stays.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from supervisor.cli import wording
from supervisor.errors import RedisAway
from supervisor.runs.answers import RunFilter
from supervisor.runs.errors import RecordsAway
from supervisor.runs.records import open_store
from supervisor.settings import Settings
from supervisor.streams.queue import Queue
from supervisor.streams.recorded import Recorded, recorded, records_of
from supervisor.times import clock

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun
    from supervisor.runs.store import RunStore

PAGE = 100
# How often a record is looked at, whose run is waited for.
LOOK_S = 1.0
_STATES = {"processing": "running"}
_STATUSES = {"completed": ("completed",), "failed": ("failed",), "": ()}
_OPEN = ("pending", "processing")


@contextmanager
def opened(settings: Settings) -> "Iterator[RunStore | None]":
    """Open the run records; None where the settings name none. Raises as open_store."""
    if not settings.records_url.get_secret_value():
        yield None
        return
    with open_store(settings) as store:
        yield store


@dataclass(frozen=True)
class Wanted:
    """Which runs are looked for: those that fit all that is given. `since` is unix time."""

    state: str = ""
    plugin: str = ""
    user_id: int | None = None
    since: float | None = None

    @property
    def in_database(self) -> RunFilter:
        """What to ask the database for: at least all that fit."""
        return RunFilter(
            statuses=_STATUSES.get(self.state, _OPEN),
            plugin=self.plugin,
            user_id=self.user_id,
            since=None if self.since is None else datetime.fromtimestamp(self.since, UTC),
        )

    def fits(self, run: Recorded) -> bool:
        """Whether a run that was found is one of them."""
        facts = run.facts
        asked_at = wording.number(facts, "published_at") or run.changed_at
        return (
            (not self.state or facts.get("state") == self.state)
            and (self.user_id is None or facts.get("user_id") == str(self.user_id))
            and (self.since is None or asked_at >= self.since)
        )


async def runs_of(
    store: "RunStore | None", queue: Queue, wanted: Wanted
) -> AsyncIterator[Recorded]:
    """Yield the runs that are kept, the last asked for first; without a store those of Redis,
    the last changed first.
    """
    if store is None:
        found = recorded(queue, wanted.state, wanted.plugin)
    else:
        found = _kept(store, queue, wanted.in_database)
    async for run in found:
        if wanted.fits(run):
            yield run


@dataclass(frozen=True)
class Place:
    """Where a run is that Redis does not know: a word, and a sentence a fact."""

    name: str
    sentences: Sequence[str]


def place_of(settings: Settings, run_id: str) -> Place | None:
    """Say what the database knows of a run; None where it does not, or there is none."""
    with opened(settings) as store:
        run = store.get(run_id) if store is not None else None
        where = store.where if store is not None else ""
    if run is None:
        return None
    if run.is_waiting:
        since = f"since {clock(run.created_at.timestamp())}"
        why = f": {run.last_publish_error}" if run.last_publish_error else ""
        first = f"Run {run_id} waits in the outbox of {where} {since}{why}."
        return Place(
            "waiting", [first, "crewpool results consume publishes it, or its application."]
        )
    if run.is_final:
        how = f"{run.status}: {run.error_message}" if run.error_message else run.status
        at = "" if run.completed_at is None else f" at {clock(run.completed_at.timestamp())}"
        first = f"Run {run_id} has ended{at} ({how}), as the run records tell."
        return Place("ended", [first, "Redis has nothing of it, or is away."])
    first = f"Run {run_id} is {run.status} in the run records, and nothing in Redis tells where."
    return Place("unknown", [first, "Redis is away, or has lost it."])


async def _kept(store: "RunStore", queue: Queue, which: RunFilter) -> AsyncIterator[Recorded]:
    cursor: str | None = None
    is_there = True
    while True:
        page = store.list(which, PAGE, cursor)
        ids = [run.plugin_run_id for run in page.runs]
        told: Sequence[Mapping[str, str]] = [{}] * len(ids)
        if is_there:
            try:
                told = await records_of(queue, ids)
            except RedisAway:
                is_there = False  # one wait for it is enough
        for run, facts in zip(page.runs, told, strict=True):
            yield Recorded(run.plugin_run_id, facts_of(run, facts), _changed_at(run))
        cursor = page.cursor
        if cursor is None:
            return


def facts_of(run: "PluginRun", in_redis: Mapping[str, str]) -> dict[str, str]:
    """Return what database and Redis know of a run, as one record."""
    ours = _facts(run)
    return {**in_redis, **ours} if run.is_final else {**ours, **in_redis}


def result_of(run: "PluginRun | None") -> dict[str, Any] | None:
    """Return the result of a run as it was published, None before its end."""
    if run is None or not run.is_final:
        return None
    meta = {"attempt": run.attempts, "duration_s": run.duration_s, "receipt": run.receipt}
    return {
        "plugin_run_id": run.plugin_run_id,
        "status": run.status,
        "output": "" if run.output is None else json.dumps(run.output, ensure_ascii=False),
        "error": run.error_message,
        "meta": {key: value for key, value in meta.items() if value},
    }


def _facts(run: "PluginRun") -> dict[str, str]:
    times = {
        "published_at": run.published_at,
        "due_at": run.due_at,
        "started_at": run.started_at,
        "ended_at": run.completed_at,
    }
    told = {
        "state": _state(run),
        "plugin": run.plugin_name,
        "user_id": str(run.user_id),
        "priority": run.priority,
        "attempt": str(run.attempts or ""),
        "error": run.error_message or run.last_publish_error,
        **{name: f"{at.timestamp():.3f}" for name, at in times.items() if at is not None},
    }
    return {name: text for name, text in told.items() if text}


async def awaited(
    coming: Coroutine[Any, Any, dict[str, Any]], store: "RunStore | None", run_id: str
) -> dict[str, Any]:
    """Return the result of a run that comes, or what its record says where that ends first.

    A run that is given up before it was published has no result in Redis.
    """
    if store is None:
        return await coming
    looks = [asyncio.ensure_future(coming), asyncio.ensure_future(_ended(store, run_id))]
    try:
        done, _ = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
        return next(look for look in looks if look in done).result()
    finally:
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


async def _ended(store: "RunStore", run_id: str) -> dict[str, Any]:
    while True:
        with suppress(RecordsAway):  # the result comes without it
            run = await asyncio.to_thread(store.get, run_id)
            if (result := result_of(run)) is not None:
                return result
        await asyncio.sleep(LOOK_S)


def _state(run: "PluginRun") -> str:
    if run.is_waiting:
        return "waiting"
    is_delayed = run.due_at is not None and run.due_at.timestamp() > time.time()
    if run.status == "pending" and is_delayed:
        return "delayed"
    return _STATES.get(run.status, run.status)


def _changed_at(run: "PluginRun") -> float:
    times = (run.completed_at, run.started_at, run.published_at, run.created_at)
    return next(at for at in times if at is not None).timestamp()
