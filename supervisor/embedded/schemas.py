"""Reads JSON schemas as a filler needs them: references followed, choices taken.

Pure, used by fill.py. Schemas come from a request and are hostile until looked at: parts of
the wrong type count as absent, and references that lead in circles end.
"""

import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 8

Schema = Mapping[str, Any]


class Schemas:
    """The parts of one schema, with its root for references."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def resolved(self, schema: Any) -> Schema:
        """Return a part with its references and choices replaced by what they stand for."""
        for _ in range(DEEPEST):
            if not isinstance(schema, Mapping):
                return {}
            for key, follow in (
                ("$ref", self._referred),
                ("allOf", self._united),
                ("anyOf", self._chosen),
                ("oneOf", self._chosen),
            ):
                if key in schema:
                    rest = {k: v for k, v in schema.items() if k != key}
                    schema = {**follow(schema[key]), **rest}
                    break
            else:
                return schema
        return {}

    def _referred(self, ref: Any) -> Schema:
        target: Any = self._root
        for step in str(ref).removeprefix("#").strip("/").split("/"):
            target = target.get(step) if isinstance(target, Mapping) and step else target
        return target if isinstance(target, Mapping) else {}

    def _united(self, parts: Any) -> Schema:
        united: dict[str, Any] = {}
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, Mapping):
                united |= self._referred(part["$ref"]) if "$ref" in part else part
        return united

    def _chosen(self, branches: Any) -> Schema:
        known = (
            [b for b in branches if isinstance(b, Mapping)] if isinstance(branches, list) else []
        )
        useful = [branch for branch in known if branch.get("type") != "null"]
        if not useful:
            return {"type": "null"}
        return {**useful[0], "nullable": True} if len(useful) < len(known) else useful[0]


def kinds(schema: Schema) -> list[str]:
    """Return the types a part admits, the best first and "null" last."""
    kind = schema.get("type")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    found = [k for k in (kind if isinstance(kind, list) else [kind]) if isinstance(k, str)]
    has_null = "null" in found or schema.get("nullable") is True
    return [k for k in found if k != "null"] + ["null"] * has_null


def size(schema: Schema, key: str, default: int) -> int:
    """Return a length such as minItems."""
    value = schema.get(key)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else default


def bounded(value: float, schema: Schema) -> float:
    """Return the number moved between minimum and maximum."""
    for side, move, step in (("minimum", max, 1), ("maximum", min, -1)):
        bound = _number(schema.get(side))
        exclusive = _number(schema.get("exclusive" + side.capitalize()))
        if bound is None and exclusive is not None:
            bound = exclusive + step
        value = value if bound is None else move(value, bound)
    return value


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if math.isfinite(value) else None
