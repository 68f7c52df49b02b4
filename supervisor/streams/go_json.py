"""JSON to the byte as Go's encoding/json writes it, so that both publishers write the same.

Compact, keys of objects sorted, `<`, `>`, `&` and two separators of lines escaped, numbers as
ECMAScript has them (https://pkg.go.dev/encoding/json, since Go 1.22). Pure.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def text_of(value: Any, *, is_struct: bool = False) -> str:
    r"""Return the JSON text of a value. A struct keeps the order of its keys.

    Raises ValueError for what JSON has no number or Unicode no text for, TypeError for
    objects that it does not know, RecursionError for what is too deep.

    >>> text_of({"b": 1.0, "a": "x<y"})
    '{"a":"x\\\\u003cy","b":1}'
    """
    if isinstance(value, Mapping):
        items = value.items() if is_struct else sorted(value.items(), key=_key_of)
        return "{" + ",".join(f"{_string(key)}:{text_of(part)}" for key, part in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(text_of(part) for part in value) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _key_of(item: tuple[Any, Any]) -> bytes:
    # Go compares bytes. Raises for a key that is no text.
    return _checked(item[0]).encode()


def _string(text: Any) -> str:
    return json.dumps(_checked(text), ensure_ascii=False).translate(_ESCAPED)


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a key is of type {type(text).__name__}, and must be text")
    text.encode()  # a lone surrogate is no Unicode
    return text


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number of JSON")
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(repr(value)), "f")
        return text.removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"
