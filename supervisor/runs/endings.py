"""What a result says about the record of its run. Pure; whatever stands in it is hostile."""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import BindParameter, Table, and_, bindparam, case, func, or_, update

from supervisor.runs.columns import fit_json
from supervisor.runs.models import COMPLETED, FAILED, OPEN, PluginRun
from supervisor.streams.wire import Result

# Deeper than any output of a crew; Python reads no deeper than a thousand levels, less what
# it is in the middle of, and a record that cannot be read again would hide all beside it.
DEEPEST_OUTPUT = 200
LONGEST_S = 10 * 365 * 86_400
_MOST_ATTEMPTS = 1_000_000
_RUNS = cast("Table", PluginRun.__table__)


def _told(name: str) -> BindParameter[Any]:
    return bindparam(f"told_{name}", type_=_RUNS.c[name].type)


# Made once: to put it together for each result took more than to execute it.
ENDING = (
    update(_RUNS)
    .where(
        _RUNS.c.plugin_run_id == _told("plugin_run_id"),
        # A run that was given up before it was published may have been published all the same,
        # by a process that died in between. What its result says is the truth.
        or_(
            _RUNS.c.status.in_(OPEN),
            and_(_RUNS.c.status == FAILED, _RUNS.c.published_at.is_(None)),
        ),
    )
    .values(
        **{name: _told(name) for name in ("status", "output", "error_message", "completed_at")},
        receipt=func.coalesce(_told("receipt"), _RUNS.c.receipt),
        attempts=case(
            (_RUNS.c.attempts < _told("attempts"), _told("attempts")), else_=_RUNS.c.attempts
        ),
        # Where nobody saw it start.
        started_at=func.coalesce(_RUNS.c.started_at, _told("started_at")),
        unique_key=None,
        # Somebody has worked on it: it left the outbox.
        payload=None,
        published_at=func.coalesce(_RUNS.c.published_at, _told("published_at")),
        last_publish_error="",
    )
)


def told_of(result: Result, at: datetime, now: datetime) -> dict[str, Any]:
    """Return what ENDING is executed with for a run that has ended so, at this time."""
    meta = result.meta
    is_completed = result.status == COMPLETED
    values = {
        "plugin_run_id": result.run_id,
        "status": COMPLETED if is_completed else FAILED,
        "output": document_of(result.output) if is_completed else None,
        "error_message": "" if is_completed else result.error,
        "completed_at": at,
        "receipt": _kept(meta.get("receipt")),
        "attempts": _attempts_of(meta.get("attempt")),
        "started_at": _start_of(meta.get("duration_s"), at),
        "published_at": now,
    }
    return {f"told_{name}": value for name, value in values.items()}


def _attempts_of(attempt: Any) -> int:
    """Return how many attempts are told of; 0 where none are."""
    is_one = isinstance(attempt, int) and not isinstance(attempt, bool)
    return attempt if is_one and 0 < attempt < _MOST_ATTEMPTS else 0


def _start_of(length_s: Any, at: datetime) -> datetime | None:
    if isinstance(length_s, int | float) and 0 <= length_s < LONGEST_S:
        return at - timedelta(seconds=float(length_s))
    return None


def document_of(output: str) -> Any:
    """Return an output as it is kept: what its JSON says, else the text itself under `raw`.

    >>> document_of('{"a": 1}'), document_of("NaN")
    ({'a': 1}, {'raw': 'NaN'})
    """
    if _depth_of(output) <= DEEPEST_OUTPUT:
        try:
            found = json.loads(output, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError):
            pass
        else:
            # JSON's null is an output; a column without a value is none.
            return {"raw": output} if found is None else found
    return {"raw": output}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no number of JSON")
    return number


def _depth_of(text: str) -> int:
    """Return how deep the JSON in a text is; 0 where it cannot be too deep."""
    if text.count("[") + text.count("{") <= DEEPEST_OUTPUT:
        return 0
    depth = deepest = 0
    is_text = False
    for found in re.finditer(r'[\[{\]}"]|\\.', text):
        sign = found[0]
        if sign == '"':
            is_text = not is_text
        elif not is_text and sign in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif not is_text and sign in "]}":
            depth -= 1
    return deepest


def _kept(receipt: Any) -> Any:
    """Return a receipt if it is one that can be kept and read again."""
    try:
        is_one = isinstance(receipt, Mapping) and _depth_of(fit_json(receipt)) <= DEEPEST_OUTPUT
    except (TypeError, ValueError, RecursionError):
        return None
    return dict(receipt) if is_one else None
