"""Makes a request from what was typed: --set, --settings, --secret, --at, --in, --unique-for.

Pure but for the file and the variables that are named. What cannot be a request is refused
here, with the rule of the wire contract, before anything is published.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from supervisor.cli.failures import UsageWrong
from supervisor.streams.wire import (
    DEEPEST,
    Entry,
    Rejected,
    Request,
    entry_fields,
    parse,
    request_payload,
)
from supervisor.times import length_of, moment_of

HELP = "crewpool submit --help"
Value = TypeVar("Value")


class Timing(TypedDict):
    """When to start a run, and for how long it shall be the only one of its kind."""

    at: float | None
    delay_s: float
    unique_for_s: float | None


def settings_of(
    base: str, pairs: Sequence[str], secrets: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Return the settings: those of --settings, changed by --set, then by --secret."""
    settings = _read(base) if base else {}
    given: dict[str, list[Any]] = {}
    for pair in pairs:
        key, text = _split(pair, "--set", "k=v")
        given.setdefault(key, []).append(value_of(text))
    for key, values in given.items():
        _put(settings, key, values[0] if len(values) == 1 else values)
    for pair in secrets:
        key, variable = _split(pair, "--secret", "_key=VARIABLE")
        settings[key] = _secret(key, variable, environ)
    return settings


def value_of(text: str) -> Any:
    """Return what a value means: JSON if it is JSON, else the text itself.

    >>> value_of("3"), value_of("true"), value_of("technology"), value_of("NaN")
    (3, True, 'technology', 'NaN')
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def timing_of(at: str | None, delay: str | None, unique_for: str | None, now: float) -> Timing:
    """Return what --at, --in and --unique-for mean; None is one that was not given."""
    if at is not None and delay is not None:
        raise UsageWrong("--at and --in both say when: give one of them", HELP)
    return {
        "at": None if at is None else checked("--at", at, lambda text: moment_of(text, now)),
        "delay_s": 0.0 if delay is None else checked("--in", delay, length_of),
        "unique_for_s": None
        if unique_for is None
        else checked("--unique-for", unique_for, length_of),
    }


def checked(option: str, text: str, meaning: Callable[[str], Value], command: str = HELP) -> Value:
    """Return what an option's text means. Raises UsageWrong with what is wrong with it."""
    try:
        return meaning(text)
    except ValueError as error:
        raise UsageWrong(f"{option} {text}: {error}", command) from None


def payload_of(request: Request, max_payload_bytes: int) -> str:
    """Return the payload to publish. Raises UsageWrong for what would be buried at once."""
    try:
        payload = request_payload(request)
        size = len(payload.encode())
    except ValueError as error:  # a lone surrogate from the shell, or 1e999
        raise UsageWrong(f"The settings cannot be written as JSON: {error}", HELP) from None
    entry = Entry("", "", entry_fields(payload), size, is_whole=size <= max_payload_bytes)
    checked = parse(entry, max_payload_bytes)
    if isinstance(checked, Rejected):
        raise UsageWrong(f"Nothing was published: {checked.error}", HELP)
    return payload


def _split(pair: str, option: str, form: str) -> tuple[str, str]:
    key, equals, rest = pair.partition("=")
    if not key or not equals:
        # The text is not quoted: it may be a credential without its name.
        raise UsageWrong(f"{option} wants {form}", HELP)
    return key, rest


def _put(settings: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    inner = settings
    for step in path:
        inner = inner.setdefault(step, {})
        if not isinstance(inner, dict):
            told = f"--set {dotted}=… needs {step!r} to be an object, and it has another value"
            raise UsageWrong(told, HELP)
    inner[last] = value


def _secret(key: str, variable: str, environ: Mapping[str, str]) -> str:
    if not key.startswith("_"):
        told = f"--secret {key}: only keys that begin with _ are kept out of logs (_llm_api_key)"
        raise UsageWrong(told, HELP)
    value = environ.get(variable, "")
    if not value:
        raise UsageWrong(f"--secret {key}: the variable {variable} is not set", HELP)
    return value


def _read(base: str) -> dict[str, Any]:
    text = _text_of(base[1:]) if base.startswith("@") else base
    try:
        settings = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise UsageWrong(f"--settings is nested deeper than {DEEPEST} levels", HELP) from None
    except ValueError as error:
        raise UsageWrong(f"--settings is not valid JSON: {error}", HELP) from None
    if not isinstance(settings, dict):
        raise UsageWrong("--settings must be a JSON object", HELP)
    return settings


def _text_of(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageWrong(f"--settings @{name} cannot be read: {error}", HELP) from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def credentials_typed(pairs: Sequence[str]) -> list[str]:
    """Return the keys of credentials that now stand in the history of the shell."""
    return sorted({pair.partition("=")[0] for pair in pairs if pair.startswith("_")})
