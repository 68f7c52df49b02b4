"""Lengths and points in time as people write and read them: `30m`, `2026-11-22T18:00`. Pure.

For commands and for what they explain.
"""

import math
import re
from datetime import datetime

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*([smhd])", re.ASCII)
_UNIX = re.compile(r"\d{1,12}(?:\.\d{1,6})?", re.ASCII)
_STEPS = (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))
LENGTH_FORM = "a number and a unit: 30s, 10m, 2h or 1d"
MOMENT_FORM = "2026-11-22T18:00 (local time), 2026-11-22T18:00:00Z, or unix seconds"
LONGEST_S = 366 * 86_400.0
"""What is further away was not meant: milliseconds taken for seconds, say."""


def length_of(text: str) -> float:
    """Return the seconds of a length. Raises ValueError with the form it must have.

    >>> length_of("30s"), length_of("1.5h")
    (30.0, 5400.0)
    """
    found = _LENGTH.fullmatch(text.strip())
    length_s = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 0 < length_s <= LONGEST_S:
        raise ValueError(f"must be {LENGTH_FORM}; more than nothing, and at most 366d")
    return length_s


def moment_of(text: str, now: float) -> float:
    """Return the unix time of a moment that is to come. Raises ValueError with what is wrong.

    ISO 8601 with a zone, or without one in local time, or unix seconds.

    >>> moment_of("1970-01-01T00:01:00Z", now=0.0)
    60.0
    """
    text = text.strip()
    try:
        at = float(text) if _UNIX.fullmatch(text) else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"must be {MOMENT_FORM}") from None
    if at <= now:
        raise ValueError(f"is {told(now - at)} ago: nothing can be started in the past")
    if at > now + LONGEST_S:
        raise ValueError("is more than 366 days away")
    return at


def told(length_s: float) -> str:
    """Return a length of time as people say it.

    >>> told(4.25), told(75), told(7300), told(200000)
    ('4s', '1m 15s', '2h 1m', '2d 7h')
    """
    whole = max(0, int(length_s)) if math.isfinite(length_s) else 0
    for big, length, small, part in _STEPS:
        if whole >= length:
            return f"{whole // length}{big} {whole % length // part}{small}"
    return f"{whole}s"


def clock(at: float) -> str:
    """Return a moment in local time, as it is read and may be given to --at."""
    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return "a time that is none"  # anybody may have written the record


def since_of(text: str, now: float) -> float:
    """Return the unix time that is meant by a length back from now, or by a moment that was.

    Raises ValueError with the form it must have.

    >>> since_of("10s", now=60.0), since_of("1970-01-01T00:00:05Z", now=60.0)
    (50.0, 5.0)
    """
    text = text.strip()
    if _LENGTH.fullmatch(text):
        return now - length_of(text)
    try:
        at = float(text) if _UNIX.fullmatch(text) else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"must be {LENGTH_FORM}; or {MOMENT_FORM}") from None
    if at > now:
        raise ValueError("is in the future")
    return at
