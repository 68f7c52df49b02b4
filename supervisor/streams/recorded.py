"""The run records of many runs, and what they say of attempts: for commands, never for the loop."""

import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supervisor.streams.inspect import looking
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded

PAGE = 50
ENDED = ("completed", "failed")
_ATTEMPT = re.compile(r"attempt_(\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class Recorded:
    """One run: its record, and when that last changed."""

    run_id: str
    facts: Mapping[str, str]
    changed_at: float


@dataclass(frozen=True)
class Attempt:
    """How one start of a run ended, as its supervisor noted it; 0 where it does not say."""

    number: int
    cause: str
    error: str
    host: str
    slot: str
    started_at: float
    ended_at: float
    code: str = ""
    cpu_s: float = 0.0
    max_rss_bytes: float = 0.0
    post_mortem: Mapping[str, Any] = field(default_factory=dict)


async def recorded(queue: Queue, state: str = "", plugin: str = "") -> AsyncIterator[Recorded]:
    """Yield the runs that have a record, the last changed first. Raises RedisAway and Refused."""
    offset, client, runs = 0, queue.client, queue.keys.runs
    seen: set[str] = set()  # one that changes meanwhile moves to the front
    while True:
        async with looking(client, f"ZRANGE {runs}"):
            page = decoded(
                await client.zrange(
                    *(runs, "+inf", "-inf"),  # scores, not places
                    desc=True,
                    byscore=True,
                    withscores=True,
                    offset=offset,
                    num=PAGE,
                )
            )
        records = await records_of(queue, [run_id for run_id, _ in page])
        for (run_id, at), facts in zip(page, records, strict=True):
            fits = (not state or facts.get("state") == state) and (
                not plugin or facts.get("plugin") == plugin
            )
            if facts and fits and run_id not in seen:  # a record may have run out
                seen.add(run_id)
                yield Recorded(run_id, facts, float(at))
        if len(page) < PAGE:
            return
        offset += PAGE


async def records_of(queue: Queue, run_ids: Sequence[str]) -> list[dict[str, str]]:
    """Return the records of runs, {} for those without, each with its state put right.

    A supervisor that parks a run notes it a moment later, when another one may have started
    and even ended it: what is in hand runs, and what has its result has ended.
    """
    if not run_ids:
        return []
    keys = queue.keys
    async with looking(queue.client, "HGETALL"):
        pipeline = queue.client.pipeline(transaction=False)
        for run_id in run_ids:
            pipeline.hgetall(keys.record(run_id))
            pipeline.hexists(keys.holding, run_id)
            pipeline.exists(keys.done(run_id))
        answers = decoded(await pipeline.execute())
    triples = zip(answers[::3], answers[1::3], answers[2::3], strict=True)
    return [_put_right(facts, is_held, has_ended) for facts, is_held, has_ended in triples]


def _put_right(facts: dict[str, str], is_held: Any, has_ended: Any) -> dict[str, str]:
    if not facts or facts.get("state") in ENDED:
        return facts
    if has_ended:
        return {**facts, "state": "completed" if facts.get("cause") == "completed" else "failed"}
    return {**facts, "state": "running"} if is_held else facts


def attempts_of(record: Mapping[str, str]) -> list[Attempt]:
    """Return the attempts that a record tells of, in order. Anybody may have written it."""
    found = []
    for name, text in record.items():
        if not (match := _ATTEMPT.fullmatch(name)):
            continue
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(facts, dict):
            found.append(_attempt(int(match[1]), facts))
    return sorted(found, key=lambda attempt: attempt.number)


def _attempt(number: int, facts: dict[str, Any]) -> Attempt:
    cause, error, host = (str(facts.get(name) or "") for name in ("cause", "error", "host"))
    slot = facts.get("slot")
    started_at, ended_at = (_number(facts.get(name)) for name in ("started_at", "ended_at"))
    receipt = facts.get("receipt")
    used = receipt if isinstance(receipt, dict) else {}
    seen = facts.get("post_mortem")
    return Attempt(
        *(number, cause, error, host, "" if slot is None else f"s{slot}", started_at, ended_at),
        code=str(facts.get("code") or ""),
        cpu_s=_number(used.get("cpu_user_s")) + _number(used.get("cpu_system_s")),
        max_rss_bytes=_number(used.get("max_rss_bytes")),
        post_mortem=seen if isinstance(seen, dict) else {},
    )


def _number(value: Any) -> float:
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0
