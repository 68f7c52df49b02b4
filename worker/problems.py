"""Says what is wrong in a file that somebody wrote: where, and what is allowed there.

pydantic knows what it found; this turns it into words for the author of a plugin.yaml or of
the same keys in the settings, with the line where there is one. Pure; the values themselves
are not quoted.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from worker.policies import CAUSES, Limits, Rate, Retry

MOST_PROBLEMS = 5
_TEXT = 'put "…" round it if it looks like something else'
# By pydantic's name of the error; {…} are the bounds that it tells.
_RULES = {
    "dict_type": "must hold keys and values{allowed}",
    "model_type": "must hold keys and values{allowed}",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "float_type": "must be a number{unit}",
    "float_parsing": "must be a number{unit}",
    "tuple_type": "must be a list",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_type": f"must be text; {_TEXT}",
    "invalid_key": f"is no key; {_TEXT}",
    "string_pattern_mismatch": "must match {pattern}",
    "missing": "is missing",
}


def all_that_is_wrong(error: ValidationError, text: str, keys: Sequence[str]) -> str:
    """Return a sentence for each problem in a YAML text, five at most, each with its line."""
    parts = error.errors(include_url=False, include_input=False)
    # Once for all: a thousand wrong keys would else be a thousand readings, and take a minute.
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    told = [(_line_in(root, _place(part)), what_is_wrong(part, keys)) for part in parts]
    return "; ".join(f"line {line}: {wrong}" for line, wrong in sorted(told)[:MOST_PROBLEMS])


def line_of(text: str, place: Sequence[Any]) -> int:
    """Return the line, from 1 on, where a key stands in a YAML text that can be read.

    Where there is no such key it is the line of the nearest one round it.
    """
    return _line_in(yaml.compose(text, Loader=yaml.SafeLoader), place)


def _line_in(node: yaml.Node | None, place: Sequence[Any]) -> int:
    line = 1
    for step in place:
        found: list[tuple[Any, Any]] = []
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(step)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = [(value, value) for value in node.value[step : step + 1]]
        if not found:
            break
        # Of two with one name the last one counts.
        key, node = found[-1]
        line = key.start_mark.line + 1
    return line


def what_is_wrong(part: Any, keys: Sequence[str]) -> str:
    """Return one sentence for one of pydantic's errors; `keys` may stand at the top level."""
    place = _place(part)
    where = ".".join(str(step)[:40] for step in place)
    if part["type"] == "extra_forbidden" or "[key]" in part["loc"]:
        return f"unknown key {where}{_hint(str(place[-1]), _allowed(place[:-1], keys))}"
    told = rule(part)
    return f"{where}: {told}" if where and part["type"] != "disagreement" else told


def _place(part: Any) -> tuple[Any, ...]:
    if part["type"] == "disagreement":
        return (*part["loc"], *part["ctx"]["place"])
    # pydantic's word for "the key itself, not its value".
    return tuple(step for step in part["loc"] if step != "[key]")


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


def rule(part: Any) -> str:
    """Return what one of pydantic's errors says about its value, without the place."""
    if (text := _RULES.get(part["type"])) is None:
        return str(part["msg"]).removeprefix("Value error, ")
    place = _place(part)
    is_length = bool(place) and str(place[-1]).endswith("_s")
    unit = " of seconds, such as 300" if is_length else ""
    if place[-1:] == ("at",):
        unit = " in unix seconds, such as 1771000000"
    allowed = ", ".join(_allowed(place, ()))
    told = {name: _bound(value) for name, value in part.get("ctx", {}).items()}
    return text.format(**told, allowed=f" (allowed: {allowed})" if allowed else "", unit=unit)


def _bound(value: Any) -> str:
    # 4e+20 for a float that is large, and 300 for 300.0; all digits of a number that is whole.
    return f"{value:.12g}" if isinstance(value, float) else str(value)
