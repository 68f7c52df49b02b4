"""How a run is told in a few words: for `submit --wait`, `workers` and `demo`.

Pure functions over run records (texts) and snapshots (numbers), which share their keys.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

from supervisor.streams.publish import Published
from supervisor.times import clock, told

ENDED = ("completed", "failed")
PENDING = "pending"
# States of a run that somebody must take before anything happens.
WAITING = ("pending", "delayed", "parked")


def phase(facts: Mapping[str, Any]) -> str:
    """Say where a crew is.

    >>> phase({"task": "2", "tasks": 3, "agent": "Digest writer", "tool": ""})
    'task 2/3 Digest writer'
    """
    task, tasks = number(facts, "task"), number(facts, "tasks")
    agent, tool = facts.get("agent"), facts.get("tool")
    # Task 0 is before the first: what is to be done is known, and nothing has begun.
    parts = [f"task {task:.0f}/{tasks:.0f}" if task else f"{tasks:.0f} tasks"] if tasks else []
    parts += [str(agent)] if agent else []
    parts += [f"({tool})"] if tool else []
    return " ".join(parts)


def running_s(facts: Mapping[str, Any]) -> float:
    """Return how long a run has run, or had run when it ended."""
    started = number(facts, "started_at")
    until = number(facts, "ended_at") or time.time()
    return max(0.0, until - started) if started else 0.0


def number(facts: Mapping[str, Any], key: str) -> float:
    """Return a figure of a record, 0 when it is not there or is none."""
    try:
        value = float(facts.get(key) or 0)
    except (TypeError, ValueError):
        return 0.0
    return value if math.isfinite(value) else 0.0


def memory(facts: Mapping[str, Any]) -> str:
    """Say why a supervisor takes no run for want of memory, "" while it takes some.

    >>> memory({"memory": {"closed": "no_room", "because": "230.4 MiB of 256.0 MiB in use"}})
    'no_room: 230.4 MiB of 256.0 MiB in use'
    """
    told = facts.get("memory")
    if not isinstance(told, Mapping) or not told.get("closed"):
        return ""
    return f"{told['closed']}: {told.get('because')}"


def line(facts: Mapping[str, Any]) -> str:
    """Return all that is worth knowing of a run in one line."""
    parts = [str(facts.get("state") or PENDING), *_attempt(facts)]
    if facts.get("state") == "running":
        limit = number(facts, "timeout_s")
        parts += [p for p in (phase(facts), _tokens(facts)) if p]
        parts.append(f"{running_s(facts):.0f}s" + (f" of {limit:g}s" if limit else ""))
        return " · ".join(parts)
    if facts.get("state") == "delayed" and (due := number(facts, "due_at")):
        parts.append(f"until {clock(due)}")
    if because := facts.get("handed_back_because"):
        parts.append(f"handed back: {because}")
    return " · ".join(parts)


def became(published: Published) -> str:
    """Say what became of a request, "" where it was simply published."""
    run_id, state = published.run_id, published.state or PENDING
    if published.what == "delayed":
        at = published.due_at or 0.0
        return f"Run {run_id} is delayed until {clock(at)} (in {told(at - time.time())})."
    if published.what == "unique":
        return (
            f"Nothing was published: run {run_id} has the same plugin, user and settings, "
            "and has not ended."
        )
    if published.what == "waiting":
        return f"Run {run_id} is recorded and waits to be published: {state}"
    if published.what in ("known", "ended"):
        state = published.state or "ended" if published.what == "ended" else state
        return f"Run {run_id} is known ({state}): it is not published again."
    return ""


def steps(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return what must change for a new line to be worth it where lines cannot be redrawn."""
    return str(facts.get("state") or PENDING), phase(facts)


def told_tokens(count: float) -> str:
    """Return a count of tokens as it stands in tables."""
    return f"{count:,.0f}" if count else ""


def _tokens(facts: Mapping[str, Any]) -> str:
    count = number(facts, "tokens")
    return f"{count:,.0f} tokens" if count else ""


def _attempt(facts: Mapping[str, Any]) -> list[str]:
    attempt = number(facts, "attempt")
    return [f"attempt {attempt:.0f}"] if attempt > 1 else []
