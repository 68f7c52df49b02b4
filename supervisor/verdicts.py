"""What becomes of a run: pure decisions from facts, carried out elsewhere.

A run ends in one of four ways (streams/endings.py). Whether it is started again is said by
the policy for the cause of its end: a crash or a lost host may not come again, an exception
or a timeout mostly does, and bad input always.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import from_json

from supervisor.retries import delay_s
from supervisor.streams.endings import Bury, DeadLetter, Ending, Finish, HandBack
from supervisor.streams.wire import Entry, Rejected, Request, Result, safe_payload
from worker.policies import Cause, Retry
from worker.protocol import Outcome, Tokens

MOST_ERROR = 2000
MOST_STACK = 8000
# Why a run is handed back without counting an attempt.
LEAVING = "leaving"
SCALED_DOWN = "scaled_down"
PAUSED = "paused"
NO_WORKER = "no_worker"


@dataclass(frozen=True)
class Context:
    """Who judges, and by which policy: the worker's consumer name, and the retries."""

    consumer: str
    policy: Callable[[Cause], Retry]
    random: Callable[[], float] = random.random


@dataclass(frozen=True)
class End:
    """How an attempt ended other than by a result of its crew.

    `error` is for the result, `because` is what was seen ("SIGKILL"), `stack` is for the
    dead letter only.
    """

    run_id: str
    cause: Cause
    error: str
    because: str = ""
    stack: str = ""
    retry_after_s: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def of_rejected(entry: Entry, rejected: Rejected, context: Context) -> Ending:
    """Bury an entry that cannot become a run."""
    result = Result(rejected.run_id, "failed", error=rejected.error) if rejected.run_id else None
    facts = _facts(entry, "invalid", rejected.reason, rejected.error, context)
    return Bury(DeadLetter(safe_payload(entry), facts), result, "invalid")


def of_outcome(entry: Entry, outcome: Outcome, meta: dict[str, Any], context: Context) -> Ending:
    """Publish what the worker reported, or judge how it failed."""
    if outcome.ended == "invalid":
        return of_rejected(entry, Rejected("invalid", outcome.error, outcome.run_id), context)
    error = outcome.error.replace("\0", "")
    if outcome.ended != "completed":
        end = End(
            outcome.run_id,
            outcome.ended,
            error,
            stack=outcome.stack,
            retry_after_s=outcome.retry_after_s,
            meta=meta,
        )
        return of_failed(entry, end, context)
    if not _is_json(outcome.output):
        # Our own worker makes JSON; who speaks on its socket may be somebody else.
        told = "The worker's output is no JSON"
        return of_failed(entry, End(outcome.run_id, "exception", told, meta=meta), context)
    return Finish(Result(outcome.run_id, "completed", outcome.output, "", meta))


def of_crash(entry: Entry, end: End, context: Context) -> Ending:
    """Judge a run whose worker died: by itself (`crash`), or killed by the kernel (`oom`).

    The sentence for `end.error` is made here.
    """
    most = max(context.policy(end.cause).attempts, entry.attempt)
    why = "the kernel killed it for want of memory" if end.cause == "oom" else end.because
    error = f"Worker died ({why}) on attempt {entry.attempt} of {most}"
    return of_failed(entry, replace(end, error=error), context)


def of_lapsed(entry: Entry, request: Request | Rejected, context: Context) -> Ending:
    """Judge an entry whose supervisor did not renew its lease any more."""
    if isinstance(request, Rejected):
        return of_rejected(entry, request, context)
    most = context.policy("lost").attempts
    error = f"Lost with its supervisor on attempt {entry.attempt} of {max(most, entry.attempt)}"
    end = End(request.run_id, "lost", error, because=f"{entry.owner} went silent")
    return of_failed(entry, end, context)


def of_drained(entry: Entry, run_id: str, because: str = LEAVING, delay_s: float = 0.0) -> Ending:
    """Give a run back that we must not finish; that is not its fault, and burns no attempt."""
    return HandBack(run_id, entry.attempt, because, delay_s=delay_s)


def of_failed(entry: Entry, end: End, context: Context) -> Ending:
    """Start a run again if the policy for its end says so, else bury it with a result."""
    retry = context.policy(end.cause)
    wait_s = delay_s(retry, entry.attempt, end.retry_after_s, context.random)
    if wait_s is not None:
        because = f"{end.cause}: {end.because or end.error}"[:MOST_ERROR]
        return HandBack(end.run_id, entry.attempt + 1, because, end.cause, wait_s)
    reason = "attempts_exhausted" if retry.attempts > 1 else end.cause
    facts = _facts(entry, end.cause, reason, end.error, context)
    if post_mortem := end.meta.get("post_mortem"):
        facts["post_mortem"] = json.dumps(post_mortem, ensure_ascii=False)
    if receipt := end.meta.get("receipt"):
        facts["receipt"] = json.dumps(receipt, ensure_ascii=False)
    if code := end.meta.get("code"):
        facts["code"] = code
    if end.stack:
        facts["stack"] = end.stack[-MOST_STACK:]
    meta = {"attempt": entry.attempt, **end.meta, "cause": end.cause}
    result = Result(end.run_id, "failed", error=end.error, meta=meta)
    return Bury(DeadLetter(safe_payload(entry), facts), result, end.cause)


def meta_of(
    request: Request, attempt: int, facts: dict[str, Any], tokens: Tokens | None
) -> dict[str, Any]:
    """Return the extras of a result. Nothing of the settings is in it."""
    tokens = tokens or Tokens()
    return {
        "plugin": request.plugin,
        "attempt": attempt,
        **facts,
        "tokens": {"prompt": tokens.prompt, "completion": tokens.completion},
        "llm_calls": tokens.calls,
    }


def _is_json(text: str) -> bool:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def _facts(entry: Entry, cause: str, reason: str, error: str, context: Context) -> dict[str, str]:
    return {
        "reason": reason,
        "class": cause,
        "attempts": str(entry.attempt),
        "last_error": error[:MOST_ERROR],
        "worker": entry.owner or context.consumer,
        "entry_id": entry.id,
        "stream": entry.stream,
        "payload_bytes": str(entry.payload_bytes),
        "died_at": f"{time.time():.3f}",
    }
