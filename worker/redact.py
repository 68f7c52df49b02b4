"""Keeps credentials out of everything that is shown or kept.

Settings keys that begin with `_` are credentials (wire contract), and so are environment
variables whose name says so. Their values are replaced wherever a text of the crew leaves
the worker: errors, progress, output, log lines.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
# Shorter values ("1", "true", "gpt") would blank out ordinary words.
SHORTEST = 6
SHORTEST_LINE = 12
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.IGNORECASE)

_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")


def without_credentials(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that may be seen: those without a leading underscore."""
    return {key: value for key, value in settings.items() if not key.startswith("_")}


def secrets_of(
    settings: Mapping[str, Any], environ: Mapping[str, str], more: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the values to hide, longest first, so that one never leaves a tail of another.

    `more` are values that are secret whatever their names say.
    """
    whole = {*more}
    whole |= {value for key, value in environ.items() if _SECRET_NAME.search(key)}
    # A proxy or a base URL may carry a password of its own.
    whole |= {match[1] for value in environ.values() if (match := _PASSWORD.search(value))}
    for key, value in settings.items():
        if key.startswith("_"):
            whole.update(_texts_in(value))
    found = {shape for value in whole for shape in _shapes_of(value)}
    return tuple(sorted((s for s in found if len(s) >= SHORTEST), key=len, reverse=True))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every secret replaced by ***."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _shapes_of(value: str) -> Iterable[str]:
    """Yield a value as it may show up: raw, inside JSON, and, a PEM key say, line by line."""
    yield value
    # A secret read from a file keeps its newline; what uses it strips it.
    yield value.strip()
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    if "\n" in value:
        yield from (line.strip() for line in value.splitlines() if len(line) >= SHORTEST_LINE)


def _texts_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts_in(part)
