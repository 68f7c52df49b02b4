"""What becomes of a run: pure decisions from facts, carried out elsewhere.

A run ends in one of four ways (streams/endings.py). Starting it again helps when its worker
or its host died; an exception or a timeout would come again, and bad input always does.
"""

import time
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from supervisor.pool.deadlines import timeout_text
from supervisor.streams.endings import Bury, DeadLetter, Ending, Finish, HandBack
from supervisor.streams.wire import Entry, Rejected, Request, Result, parse, safe_payload
from worker.protocol import Outcome, Tokens

MOST_ERROR = 2000
# Why a run is handed back without counting an attempt.
LEAVING = "leaving"
SCALED_DOWN = "scaled_down"


@dataclass(frozen=True)
class Context:
    """Who judges: the worker's consumer name, and how often a run may be started."""

    consumer: str
    max_attempts: int


def of_rejected(entry: Entry, rejected: Rejected, context: Context) -> Ending:
    """Bury an entry that cannot become a run."""
    result = Result(rejected.run_id, "failed", error=rejected.error) if rejected.run_id else None
    facts = _facts(entry, "invalid", rejected.reason, rejected.error, context)
    return Bury(DeadLetter(safe_payload(entry), facts), result)


def of_outcome(entry: Entry, outcome: Outcome, meta: dict[str, Any], context: Context) -> Ending:
    """Publish what the worker reported; input that does not fit its plugin is buried."""
    if outcome.ended == "invalid":
        return of_rejected(entry, Rejected("invalid", outcome.error, outcome.run_id), context)
    error = outcome.error.replace("\0", "")
    if outcome.ended != "completed":
        return Finish(Result(outcome.run_id, "failed", "", error, meta))
    if not _is_json(outcome.output):
        # Our own worker makes JSON; who speaks on its socket may be somebody else.
        return Finish(Result(outcome.run_id, "failed", "", "The worker's output is no JSON", meta))
    return Finish(Result(outcome.run_id, "completed", outcome.output, "", meta))


def of_timeout(run_id: str, timeout_s: float, meta: dict[str, Any]) -> Ending:
    """Publish that the run overran; it would overrun again."""
    return Finish(Result(run_id, "failed", error=timeout_text(timeout_s), meta=meta))


def of_crash(entry: Entry, run_id: str, how: str, context: Context) -> Ending:
    """Start a run again whose worker died, until it has killed enough of them."""
    if entry.attempt < context.max_attempts:
        return HandBack(run_id, entry.attempt + 1, f"crash: {how}")
    error = f"Worker died ({how}) on attempt {entry.attempt} of {context.max_attempts}"
    return _give_up(entry, run_id, "crash", error, context)


def of_drained(entry: Entry, run_id: str, because: str = LEAVING) -> Ending:
    """Give a run back that we must not finish; stopping us is not its fault."""
    return HandBack(run_id, entry.attempt, because)


def of_lapsed(entry: Entry, max_payload_bytes: int, context: Context) -> Ending:
    """Judge an entry whose supervisor did not renew its lease any more."""
    request = parse(entry, max_payload_bytes)
    if isinstance(request, Rejected):
        return of_rejected(entry, request, context)
    if entry.attempt < context.max_attempts:
        return HandBack(request.run_id, entry.attempt + 1, f"lost: {entry.owner} went silent")
    error = f"Lost with its supervisor on attempt {entry.attempt} of {context.max_attempts}"
    return _give_up(entry, request.run_id, "lost", error, context)


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


def _give_up(entry: Entry, run_id: str, cause: str, error: str, context: Context) -> Ending:
    facts = _facts(entry, cause, "attempts_exhausted", error, context)
    letter = DeadLetter(safe_payload(entry), facts)
    return Bury(letter, Result(run_id, "failed", error=error, meta={"attempt": entry.attempt}))


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
