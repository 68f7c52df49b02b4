"""What a result says about the record of its run. Pure; whatever stands in it is hostile."""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func

from supervisor.runs.columns import fit_json
from supervisor.runs.models import COMPLETED, FAILED, PluginRun
from supervisor.streams.wire import Result

# Deeper than any output of a crew; Python reads no deeper than a thousand levels, less what
# it is in the middle of, and a record that cannot be read again would hide all beside it.
DEEPEST_OUTPUT = 200
LONGEST_S = 10 * 365 * 86_400
_MOST_ATTEMPTS = 1_000_000


def values_of(result: Result, at: datetime) -> dict[str, Any]:
    """Return the columns of a run that has ended so, at this time."""
    meta = result.meta
    is_completed = result.status == COMPLETED
    values: dict[str, Any] = {
        "status": COMPLETED if is_completed else FAILED,
        "output": document_of(result.output) if is_completed else None,
        "error_message": "" if is_completed else result.error,
        "completed_at": at,
        "unique_key": None,
    }
    if (receipt := _kept(meta.get("receipt"))) is not None:
        values["receipt"] = receipt
    attempt = meta.get("attempt")
    if isinstance(attempt, int) and not isinstance(attempt, bool) and 0 < attempt < _MOST_ATTEMPTS:
        values["attempts"] = case((PluginRun.attempts < attempt, attempt), else_=PluginRun.attempts)
    length_s = meta.get("duration_s")
    if isinstance(length_s, int | float) and 0 <= length_s < LONGEST_S:
        # Where nobody saw it start.
        started = at - timedelta(seconds=float(length_s))
        values["started_at"] = func.coalesce(PluginRun.started_at, started)
    return values


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
