"""Fills a JSON schema with what a text gives away: tool arguments and structured answers.

Pure functions, used by answer.py. The schema decides the shape (schemas.py), an `Evidence`
the content (evidence.py).
"""

import re
from typing import Any, Protocol, Self

from supervisor.embedded.schemas import DEEPEST, Schema, Schemas, bounded, kinds, size

MOST_ELEMENTS = 50
MOST_VALUES = 500
MOST_PADDING_CHARS = 10_000

# Booleans that must be true, or CrewAI would ask again and again ("ready", "valid").
_AFFIRMATIVE = re.compile(
    r"ready|valid|success|complete|approve|accept|passed|done|achieved|confirm|ok$"
)
_COUNT = re.compile(r"^n$|limit|count|max|number|top|size|amount|results")


class Evidence(Protocol):
    """What is known. Each question is asked with the name of the field to fill."""

    def string(self, name: str, schema: Schema) -> str:
        """Return the value that is plainly there for this name, or ""."""

    def any_string(self, name: str, schema: Schema) -> str:
        """Return the best guess where a value must be given."""

    def strings(self, name: str) -> list[str]:
        """Return the elements of a list of strings."""

    def number(self, name: str) -> float | None:
        """Return a number that is plainly there for this name."""

    def objects(self, name: str) -> list[Self]:
        """Return one evidence for each element of a list of objects."""

    def mentions(self, word: str) -> bool:
        """Say whether a word of an enumeration occurs."""


def fill(schema: Schema, evidence: Evidence, *, only_needed: bool = False) -> Any:
    """Return a value that fits the schema as far as the evidence allows.

    With `only_needed` an optional field without plain evidence is left out, so that the
    tool's own default holds.
    """
    return _Filler(schema, only_needed=only_needed).value("", schema, evidence, 0)


class _Filler:
    def __init__(self, root: Schema, *, only_needed: bool) -> None:
        self._schemas = Schemas(root)
        self._only_needed = only_needed
        # A small schema that refers to itself in ten fields has millions of values.
        self._values_left = MOST_VALUES

    def value(self, name: str, schema: Any, evidence: Evidence, depth: int) -> Any:
        self._values_left -= 1
        schema = self._schemas.resolved(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            return _choice(options, evidence, schema.get("default"))
        kind, *others = (*kinds(schema), "null")
        if not _is_known(name, schema, evidence):
            if "default" in schema:
                return schema["default"]
            # The last "null" is ours; one more means that the schema admits it.
            kind = "null" if others.count("null") > 1 else kind
        return self._of_kind(kind, name, schema, evidence, depth)

    def _of_kind(self, kind: str, name: str, schema: Schema, evidence: Evidence, depth: int) -> Any:
        is_too_much = depth > DEEPEST or self._values_left < 0
        if kind == "object":
            return {} if is_too_much else self._object(schema, evidence, depth)
        if kind == "array":
            return [] if is_too_much else self._array(name, schema, evidence, depth)
        return None if kind == "null" else _scalar(kind, name, schema, evidence)

    def _object(self, schema: Schema, evidence: Evidence, depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        needed = set(map(str, required)) if isinstance(required, list) else set()
        return {
            str(name): self.value(str(name), part, evidence, depth + 1)
            for name, part in (properties.items() if isinstance(properties, dict) else ())
            if not self._only_needed
            or name in needed
            or _is_known(str(name), self._schemas.resolved(part), evidence)
        }

    def _array(self, name: str, schema: Schema, evidence: Evidence, depth: int) -> list[Any]:
        element = self._schemas.resolved(schema.get("items"))
        kind = (*kinds(element), "null")[0]
        found: list[Any] = []
        if isinstance(options := element.get("enum"), list):
            found = [o for o in options if isinstance(o, str) and evidence.mentions(o)]
        elif kind == "object":
            found = [self.value(name, element, e, depth + 1) for e in evidence.objects(name)]
        elif kind == "string":
            found = [*evidence.strings(name)]
        least, most = size(schema, "minItems", 0), size(schema, "maxItems", MOST_ELEMENTS)
        while len(found) < min(least, MOST_ELEMENTS):
            found.append(self.value(name, element, evidence, depth + 1))
        return found[: min(most, MOST_ELEMENTS)]


def _is_known(name: str, schema: Schema, evidence: Evidence) -> bool:
    """Say whether the text gives this field away, so that no default is needed."""
    allowed = kinds(schema)
    if "integer" in allowed or "number" in allowed:
        return evidence.number(name) is not None
    if "array" in allowed:
        return bool(evidence.strings(name) or evidence.objects(name))
    return "object" in allowed or ("string" in allowed and bool(evidence.string(name, schema)))


def _choice(options: list[Any], evidence: Evidence, default: Any) -> Any:
    fallback = default if default in options else None if None in options else options[0]
    return next((o for o in options if isinstance(o, str) and evidence.mentions(o)), fallback)


def _scalar(kind: str, name: str, schema: Schema, evidence: Evidence) -> Any:
    if kind == "boolean":
        return bool(_AFFIRMATIVE.search(name.casefold()))
    if kind in ("integer", "number"):
        known = evidence.number(name)
        guess = 10 if _COUNT.search(name.casefold()) else 0
        value = bounded(guess if known is None else known, schema)
        return int(value) if kind == "integer" else float(value)
    text = evidence.string(name, schema) or evidence.any_string(name, schema)
    least = min(size(schema, "minLength", 0), MOST_PADDING_CHARS)
    return text[: size(schema, "maxLength", len(text))].ljust(least, ".")
