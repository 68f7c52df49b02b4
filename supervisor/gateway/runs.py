"""What is known of a run, from the records and from Redis; and its cancel.

The records say what was asked for; whether it has ended, Redis may know a moment earlier.
Credentials are in none of it: records mask them, and Redis' records have no settings.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from supervisor.errors import RedisAway
from supervisor.gateway.models import (
    Cancelled,
    Ending,
    Progress,
    Run,
    clean,
    number,
    status_of,
    whole,
)
from supervisor.gateway.problems import Refusal
from supervisor.gateway.turns import Turns
from supervisor.runs.cancelling import cancel
from supervisor.streams import inspect
from supervisor.streams.queue import Queue
from supervisor.streams.recorded import ENDED, records_of
from supervisor.streams.wire import is_run_id

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun
    from supervisor.runs.store import RunStore

DEEPEST_OUTPUT = 100
# What looks through streams is dear: so many at a time.
LOOKS = 4


class Runs:
    """Looks at runs, and cancels them. `store` is None without run records, `recorded` are turns
    at these.
    """

    def __init__(self, queue: Queue, store: "RunStore | None", recorded: Turns) -> None:
        self._queue = queue
        self._store = store
        self._of_records = recorded
        self._calls = Turns()
        self._dear = Turns(LOOKS)

    async def get(self, run_id: str) -> Run:
        """Return a run. Raises Refusal where it is not known, RedisAway, Refused, RecordsAway."""
        recorded = await self._recorded(run_id)
        if recorded is not None and recorded.is_final:
            return _of_record(recorded)
        try:
            found = await self._in_redis(run_id)
        except (RedisAway, inspect.Refused, Refusal):
            if recorded is None:
                raise
            found = None
        if recorded is None:
            if found is None:
                raise _unknown(run_id)
            return found
        kept = _of_record(recorded)
        if found is None:
            return kept
        return found.model_copy(update={"input": kept.input, "created_at": kept.created_at})

    async def cancel(self, run_id: str) -> Cancelled:
        """Cancel a run wherever it is. Raises Refusal, RedisAway, Refused, RecordsAway."""
        if not is_run_id(run_id):
            raise _unknown(run_id)
        async with self._dear.one():
            found = await cancel(self._queue, self._store, run_id)
        if found.was == "unknown":
            raise _unknown(run_id)
        if found.was == "ended":
            raise _ended(run_id)
        was = "processing" if found.was == "running" else "pending"
        return Cancelled.model_validate({"plugin_run_id": run_id, "was": was})

    async def _recorded(self, run_id: str) -> "PluginRun | None":
        if self._store is None or not is_run_id(run_id):
            return None
        async with self._of_records.one():
            return await asyncio.to_thread(self._store.get, run_id)

    async def _in_redis(self, run_id: str) -> Run | None:
        if not is_run_id(run_id):
            return None
        async with self._calls.one():
            (facts,) = await records_of(self._queue, [run_id])
            has_ended = facts.get("state") in ENDED
            if not facts and not (has_ended := await inspect.has_result(self._queue, run_id)):
                return None
        if not has_ended:
            return of_facts(run_id, facts)
        async with self._dear.one():
            ended_at = number(facts.get("ended_at", ""))
            result = await inspect.find_result(self._queue, run_id, ended_at)
        if not facts and result is None:
            raise _gone(run_id)
        return of_facts(run_id, facts, result)


def of_facts(run_id: str, facts: Mapping[str, str], result: Mapping[str, Any] | None = None) -> Run:
    """Return a run from its record in Redis, and its result where there is one."""
    user_id, duration_s = whole(facts.get("user_id", "")), None
    started_at, ended_at = (number(facts.get(name, "")) for name in ("started_at", "ended_at"))
    if started_at is not None and ended_at is not None:
        duration_s = max(0.0, round(ended_at - started_at, 3))
    run = Run(
        plugin_run_id=run_id,
        status=status_of(facts.get("state", "")),
        plugin_name=clean(facts["plugin"]) if "plugin" in facts else None,
        user_id=user_id,
        priority=clean(facts["priority"]) if "priority" in facts else None,
        error=clean(facts.get("error", "")),
        attempts=whole(facts.get("attempt", "")) or 0,
        published_at=_time(facts.get("published_at")),
        due_at=_time(facts.get("due_at")),
        started_at=_time(facts.get("started_at")),
        completed_at=_time(facts.get("ended_at")),
        duration_s=duration_s,
    )
    if not run.is_final and result is None:
        run.progress = Progress.of(facts)
    if result is not None:
        ending = ending_of(run_id, result)
        run.status, run.output, run.error = ending.status, ending.output, ending.error
        run.receipt = _receipt_of(result)
    return run


def ending_of(run_id: str, result: Mapping[str, Any]) -> Ending:
    """Return how a run ended, from its result. Anybody may have written it."""
    is_completed = result.get("status") == "completed"
    return Ending(
        plugin_run_id=run_id,
        status="completed" if is_completed else "failed",
        output=output_of(str(result.get("output") or "")) if is_completed else None,
        error="" if is_completed else clean(str(result.get("error") or "")),
    )


def output_of(text: str) -> Any:
    """Return an output as JSON has it; under `raw` what is none, or none that all can read.

    >>> output_of('{"a": 1}'), output_of("NaN")
    ({'a': 1}, {'raw': 'NaN'})
    """
    try:
        found = json.loads(text)
        return _shallow(found)
    except (ValueError, RecursionError):
        return {"raw": clean(text)}


def _receipt_of(result: Mapping[str, Any]) -> dict[str, Any] | None:
    meta = result.get("meta")
    receipt = meta.get("receipt") if isinstance(meta, dict) else None
    if isinstance(receipt, dict):
        with suppress(ValueError, RecursionError):
            return dict(_shallow(receipt))
    return None


def _shallow(value: Any) -> Any:
    """Return a value that can be written again. Raises ValueError for one that cannot."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST_OUTPUT:
            raise ValueError("too deep")
        groups = (
            p.values() if isinstance(p, dict) else p for p in level if isinstance(p, dict | list)
        )
        level = [part for group in groups for part in group]
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def _of_record(run: "PluginRun") -> Run:
    data = run.as_data()
    data["error"] = data.pop("error_message")
    return Run.model_validate({name: data[name] for name in Run.model_fields if name in data})


def _time(text: str | None) -> str | None:
    at = number(text or "")
    if at is None:
        return None
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(at, UTC).isoformat()
    return None


def _unknown(run_id: str) -> Refusal:
    told = "No run of this id is known here, or not any more: look at the id."
    return Refusal("unknown-run", told, run_id=clean(run_id[:128]))


def _gone(run_id: str) -> Refusal:
    told = "It has its result, and neither that nor its record is in Redis any more."
    return Refusal("result-gone", told, run_id=run_id)


def _ended(run_id: str) -> Refusal:
    return Refusal("has-ended", "The run has ended: there is nothing to cancel.", run_id=run_id)
