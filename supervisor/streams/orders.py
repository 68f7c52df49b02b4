"""Orders of an operator that scripts carry out: cancel a run, pause a plugin, let it go on.

For commands and for the gateway. What runs is killed by its supervisor, which hears of it on
the stream of messages to all.
"""

import json
import time
from dataclasses import dataclass
from typing import Any

from supervisor.streams.connection import answering
from supervisor.streams.endings import cancelled
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded
from supervisor.streams.wire import SCHEMA_VERSION, run_id_in

PAGE = 500


@dataclass(frozen=True)
class Cancelled:
    """What the run was when it was cancelled: queued, delayed, parked or running.

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


async def cancel(queue: Queue, run_id: str) -> Cancelled:
    """Cancel a run wherever it is; look through the streams when nothing is noted of it."""
    found = await _cancel(queue, run_id, "", "")
    if found.was != "unknown":
        return found
    async for stream, entry_id in _entries_of(queue, run_id):
        found = await _cancel(queue, run_id, stream, entry_id)
        if found.was != "unknown":
            return found
    # It may have been taken while we looked.
    return await _cancel(queue, run_id, "", "")


async def set_plugin_state(queue: Queue, plugin: str, action: str, by: str, reason: str) -> str:
    """Pause or resume a plugin on all hosts; return the state it was in before."""
    return str(await queue.call("plugin_state", (), [plugin, action, by, reason]))


async def plugin_states(queue: Queue) -> dict[str, PluginState]:
    """Return what is known against plugins."""
    async with answering(queue.client):
        texts = decoded(await queue.client.hgetall(queue.keys.plugins))
    return {name: _state(json.loads(text)) for name, text in texts.items()}


async def _cancel(queue: Queue, run_id: str, stream: str, entry_id: str) -> Cancelled:
    result = cancelled(run_id).result
    now = time.time()
    record = {"state": "failed", "error": result.error, "cause": "cancelled"}
    words = [queue.keys.group, run_id, stream, entry_id]
    words += [result.payload(), str(int(now)), SCHEMA_VERSION]
    words += [str(queue.limits.done_ttl_s), str(queue.limits.record_ttl_s)]
    words += [word for pair in record.items() for word in pair] + ["ended_at", f"{now:.3f}"]
    unique = await _unique_of(queue, run_id)
    was, detail = await queue.call("cancel", queue.keys.of_run(run_id, unique), words)
    return Cancelled(str(was), str(detail))


async def _unique_of(queue: Queue, run_id: str) -> str:
    async with answering(queue.client):
        unique = decoded(await queue.client.hget(queue.keys.record(run_id), "unique"))
    return str(unique or "")


async def _entries_of(queue: Queue, run_id: str) -> Any:
    """Yield the undelivered entries of a run that somebody else published. Reads them all."""
    for stream in queue.keys.request_streams:
        async with answering(queue.client):
            groups = decoded(await queue.client.xinfo_groups(stream))
        last = next((g["last-delivered-id"] for g in groups if g["name"] == queue.keys.group), "-")
        while True:
            start = f"({last}" if last != "-" else "-"
            async with answering(queue.client):
                page = decoded(await queue.client.xrange(stream, min=start, count=PAGE))
            for entry_id, fields in page:
                if run_id_in(fields.get("payload", "")) == run_id:
                    yield stream, entry_id
            if len(page) < PAGE:
                break
            last = page[-1][0]


def _state(facts: dict[str, Any]) -> PluginState:
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
