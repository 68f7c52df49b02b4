"""Says what is wrong in a file that somebody wrote: where, and what is allowed there.

pydantic knows what it found; this turns it into words for the author of a plugin.yaml or of
the same keys in the settings. Pure; the values themselves are not quoted.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from worker.policies import CAUSES, Limits, Rate, Retry

_TEXT = 'put "…" round it if it looks like something else'
# By pydantic's name of the error; {…} are the bounds that it tells.
_RULES = {
    "dict_type": "must hold keys and values (allowed: {allowed})",
    "model_type": "must hold keys and values (allowed: {allowed})",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt:.12g}",
    "greater_than_equal": "must be at least {ge:.12g}",
    "less_than_equal": "must be at most {le:.12g}",
    "string_type": f"must be text; {_TEXT}",
    "invalid_key": f"is no key; {_TEXT}",
    "missing": "is missing",
}


def what_is_wrong(part: Any, keys: Sequence[str]) -> str:
    """Return one sentence for one of pydantic's errors; `keys` may stand at the top level."""
    # pydantic's word for "the key itself, not its value".
    place = tuple(step for step in part["loc"] if step != "[key]")
    where = ".".join(str(step)[:40] for step in place)
    if part["type"] == "extra_forbidden" or len(place) < len(part["loc"]):
        return f"unknown key {where}{_hint(str(place[-1]), _allowed(place[:-1], keys))}"
    told = _rule(part, place)
    return f"{where}: {told}" if where else told


def _allowed(place: tuple[Any, ...], keys: Sequence[str]) -> Sequence[str]:
    """Return the keys that may stand in this section."""
    match place:
        case ("retry",):
            return CAUSES
        case ("retry", _):
            return tuple(Retry.model_fields)
        case ("limits",):
            return tuple(Limits.model_fields)
        case ("limits", _):
            return tuple(Rate.model_fields)
    return keys


def _hint(key: str, allowed: Sequence[str]) -> str:
    close = get_close_matches(key.lower().replace("-", "_"), allowed, n=1)
    meant = f", did you mean {close[0]}?" if close else ""
    return f"{meant} (allowed: {', '.join(allowed)})"


def _rule(part: Any, place: tuple[Any, ...]) -> str:
    if (rule := _RULES.get(part["type"])) is None:
        return str(part["msg"]).removeprefix("Value error, ")
    return rule.format(**part.get("ctx", {}), allowed=", ".join(_allowed(place, ())))
