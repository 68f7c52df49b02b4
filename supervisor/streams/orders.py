"""Orders of an operator that scripts carry out: cancel a run, pause a plugin, let it go on.

For commands and for the gateway. What runs is killed by its supervisor, which hears of it on
the stream of messages to all.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from supervisor.streams.endings import cancelled
from supervisor.streams.inspect import looking
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded
from supervisor.streams.wire import SCHEMA_VERSION, run_id_in

PAGE = 200


@dataclass(frozen=True)
class Cancelled:
    """What the run was when it was cancelled: queued, delayed, parked or running, or waiting to
    be published.

    Or why it was not: ended, unknown. `detail` is the consumer of a running one, the state of
    one that has ended.
    """

    was: str
    detail: str = ""


@dataclass(frozen=True)
class PluginState:
    """Why a plugin's runs do not start: paused, quarantined or probing. "" when they do.

    `crashes` are unix times (s) of the latest ones; `until` is when a probe may run.
    """

    state: str = ""
    since: float | None = None
    until: float | None = None
    by: str = ""
    reason: str = ""
    probe: str = ""
    crashes: tuple[float, ...] = ()


@dataclass(frozen=True)
class PluginLoad:
    """How many runs of a plugin are in hand, and how many are parked."""

    in_hand: int = 0
    parked: int = 0


async def cancel(queue: Queue, run_id: str, *, is_asked_for: bool = False) -> Cancelled:
    """Cancel a run wherever it is; look through the streams when nothing is noted of it.

    One that `is_asked_for` (a record says so) ends in any case: who publishes it later is told
    that it has ended. Raises RedisAway and Refused. Safe to repeat: what is cancelled has ended.
    """
    if is_asked_for:
        return await _cancel(queue, run_id, "", "", is_asked_for=True)
    found = await _cancel(queue, run_id, "", "")
    if found.was != "unknown":
        return found
    async for stream, entry_id in entries_of(queue, run_id):
        found = await _cancel(queue, run_id, stream, entry_id)
        if found.was != "unknown":
            return found
    # It may have been taken while we looked.
    return await _cancel(queue, run_id, "", "")


async def set_plugin_state(queue: Queue, plugin: str, action: str, by: str, reason: str) -> str:
    """Pause or resume a plugin on all hosts; return the state it was in before."""
    async with looking(queue.client, "EVALSHA"):
        return str(await queue.call("plugin_state", (), [plugin, action, by, reason]))


async def plugin_states(queue: Queue) -> dict[str, PluginState]:
    """Return what is known against plugins."""
    async with looking(queue.client, f"HGETALL {queue.keys.plugins}"):
        texts = decoded(await queue.client.hgetall(queue.keys.plugins))
    return {name: state_of(json.loads(text)) for name, text in texts.items()}


async def plugin_loads(queue: Queue) -> dict[str, PluginLoad]:
    """Return how many runs of plugins are on, for those that have any."""
    counts = []
    for key in (queue.keys.running, queue.keys.parked_plugins):
        async with looking(queue.client, f"HGETALL {key}"):
            counts.append(decoded(await queue.client.hgetall(key)))
    in_hand, parked = counts
    return {
        name: PluginLoad(int(in_hand.get(name, 0)), int(parked.get(name, 0)))
        for name in {*in_hand, *parked}
    }


async def _cancel(
    queue: Queue, run_id: str, stream: str, entry_id: str, *, is_asked_for: bool = False
) -> Cancelled:
    result = cancelled(run_id).result
    now = time.time()
    record = {"state": "failed", "error": result.error, "cause": "cancelled"}
    words = [queue.keys.group, run_id, stream, entry_id]
    words += [result.payload(), str(int(now)), SCHEMA_VERSION]
    words += [str(queue.limits.done_ttl_s), str(queue.limits.record_ttl_s)]
    words += ["1" if is_asked_for else "0"]
    words += [word for pair in record.items() for word in pair] + ["ended_at", f"{now:.3f}"]
    unique = await _unique_of(queue, run_id)
    async with looking(queue.client, "EVALSHA"):
        was, detail = await queue.call("cancel", queue.keys.of_run(run_id, unique), words)
    return Cancelled(str(was), str(detail))


async def _unique_of(queue: Queue, run_id: str) -> str:
    key = queue.keys.record(run_id)
    async with looking(queue.client, f"HGET {key}"):
        return str(decoded(await queue.client.hget(key, "unique")) or "")


async def entries_of(queue: Queue, run_id: str) -> AsyncIterator[tuple[str, str]]:
    """Yield stream and id of the undelivered entries of a run. Reads all that wait."""
    for stream in queue.keys.request_streams:
        last = await _last_delivered(queue, stream)
        while last is not None:
            async with looking(queue.client, f"XRANGE {stream}"):
                page = decoded(await queue.client.xrange(stream, min=f"({last}", count=PAGE))
            for entry_id, fields in page:
                if is_of_run(fields.get("payload", ""), run_id):
                    yield stream, entry_id
            last = page[-1][0] if len(page) == PAGE else None


def is_of_run(payload: str, run_id: str) -> bool:
    """Whether a payload asks for this run. One that is no JSON is read as its burial would."""
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return run_id_in(payload) == run_id
    return isinstance(body, dict) and body.get("plugin_run_id") == run_id


async def _last_delivered(queue: Queue, stream: str) -> str | None:
    """Return the last id that our group has read; None where there is no stream."""
    async with looking(queue.client, f"XINFO GROUPS {stream}"):
        try:
            groups = decoded(await queue.client.xinfo_groups(stream))
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return None
    ours = (group for group in groups if group["name"] == queue.keys.group)
    return str(next(ours, {"last-delivered-id": "0-0"})["last-delivered-id"])


def state_of(facts: Mapping[str, Any]) -> PluginState:
    """Return a plugin's state as the scripts keep it."""
    crashes = facts.get("crashes") or []
    return PluginState(
        state=facts.get("state", ""),
        since=facts["since_ms"] / 1000 if "since_ms" in facts else None,
        until=facts["until_ms"] / 1000 if "until_ms" in facts else None,
        by=facts.get("by", ""),
        reason=facts.get("reason", ""),
        probe=facts.get("probe", ""),
        crashes=tuple(at / 1000 for at in crashes) if isinstance(crashes, list) else (),
    )
