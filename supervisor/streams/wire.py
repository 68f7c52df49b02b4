"""The wire contract: entries in, results out. Pure functions; the edge where requests are
checked, once.

Whatever a producer wrote is hostile until `parse` returned a Request. What is wrong with it
becomes a Rejected: a word for metrics and dead letters, and a sentence for the result.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from supervisor.streams.go_json import text_of
from worker.plugins import NAME
from worker.redact import MASK

SCHEMA_VERSION = "v1"
DEEPEST = 64
LONGEST_RUN_ID = 128
LARGEST_USER_ID = 2**64 - 1
EXCERPT = 512
# Letters are bounded by number; ten thousand of a megabyte each would fill a Redis.
LARGEST_IN_A_LETTER = 65_536
_RUN_ID = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{LONGEST_RUN_ID}}}")
_RUN_ID_IN_TEXT = re.compile(rf'"plugin_run_id"\s*:\s*"([^"\\\x00-\x1f]{{1,{LONGEST_RUN_ID}}})"')
# Where a credential may begin in text that does not parse: `"_llm_api_key": …`.
_CREDENTIAL = re.compile(r"(?<![A-Za-z0-9])_|\\u005f", re.IGNORECASE)

_CREDENTIAL_NAMED = re.compile(
    r"(?<![A-Za-z0-9])_\w*(key|token|secret|passw|credential)", re.IGNORECASE
)


@dataclass(frozen=True)
class Entry:
    """One record of a request stream as take.lua returns it.

    `payload` is None when it is missing, and only an excerpt when `payload_bytes` is above
    the cap; `attempt` counts starts from 1. `owner` is set by the sweep: who had it before.
    `level` is the place of its priority in keys.PRIORITIES.
    """

    stream: str
    id: str
    fields: Mapping[str, str]
    payload_bytes: int
    is_whole: bool = True
    owner: str = ""
    level: int = 2

    @property
    def attempt(self) -> int:
        """The number of this start; foreign producers do not write it."""
        text = self.fields.get("attempt", "1")
        return int(text) if re.fullmatch(r"[1-9]\d{0,3}", text) else 1

    @property
    def unique(self) -> str:
        """The digest that no other run may have while this one is on; "" for most."""
        text = self.fields.get("crewpool_unique", "")
        return text if re.fullmatch(r"[0-9a-f]{32,64}", text) else ""

    @property
    def published_at(self) -> float | None:
        """When the application published it, in unix seconds; None when it did not say."""
        text = self.fields.get("published_at", "")
        return float(text) if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text) else None


@dataclass(frozen=True)
class Request:
    """A run as it was asked for, checked."""

    run_id: str
    plugin: str
    user_id: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Rejected:
    """Why an entry cannot become a run. `run_id` is "" where none can be read."""

    reason: str
    error: str
    run_id: str = ""


@dataclass(frozen=True)
class Result:
    """What goes to plugin:results. `meta` holds extras; the four fields are the contract."""

    run_id: str
    status: str
    output: str = ""
    error: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def payload(self) -> str:
        """Return the JSON text that Go's encoding/json reads into its struct."""
        body: dict[str, Any] = {
            "plugin_run_id": self.run_id,
            "status": self.status,
            "output": self.output,
            "error": self.error,
        }
        if self.meta:
            body["meta"] = dict(self.meta)
        return json.dumps(body, ensure_ascii=False, allow_nan=False)


def parse(entry: Entry, max_payload_bytes: int) -> Request | Rejected:
    """Check an entry. Never raises for anything a producer can write."""
    payload = entry.fields.get("payload")
    if payload is None:
        return Rejected("no_payload", "The entry has no field `payload`")
    hint = run_id_in(payload)
    if not entry.is_whole:
        told = (
            f"The payload has {entry.payload_bytes} bytes; at most {max_payload_bytes} are allowed"
        )
        return Rejected("too_large", told, hint)
    version = entry.fields.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        told = f"schema_version {version[:20]!r} is not supported (supported: {SCHEMA_VERSION})"
        return Rejected("unsupported_schema", told, hint)
    try:
        body = json.loads(payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return Rejected("not_json", f"The payload is not valid JSON: {str(error)[:200]}", hint)
    return _request_of(body, hint)


def _request_of(body: Any, hint: str) -> Request | Rejected:
    if not isinstance(body, dict):
        return Rejected("invalid_request", "The payload must be a JSON object", hint)
    run_id = body.get("plugin_run_id")
    if not is_run_id(run_id):
        told = f"plugin_run_id must be a string of 1 to {LONGEST_RUN_ID} printable characters"
        return Rejected("invalid_request", told, hint)
    name = body.get("plugin_name")
    if isinstance(name, str) and not NAME.fullmatch(name):
        told = f"plugin_name {name[:80]!r} is not allowed (pattern: {NAME.pattern})"
        return Rejected("invalid_plugin_name", told, run_id)
    problem = _problem_of(name, body.get("user_id"), body.get("settings"))
    # The whole of it, also what we do not know: take.lua must have read what we accept, or
    # its run would have no limits, and nobody could cancel it.
    if not problem and (unfit := _unfit(body)):
        problem = f"The payload's values {unfit}"
    if problem:
        return Rejected("invalid_request", problem, run_id)
    return Request(run_id, str(name), body["user_id"], body.get("settings") or {})


def _problem_of(name: Any, user_id: Any, settings: Any) -> str:
    if not isinstance(name, str):
        return "plugin_name must be a string"
    if isinstance(user_id, bool) or not isinstance(user_id, int):
        return "user_id must be an unsigned integer"
    if not 0 <= user_id <= LARGEST_USER_ID:
        return "user_id must lie between 0 and 2^64-1"
    if not isinstance(settings, dict | None):
        return "settings must be an object or null"
    return ""


def is_run_id(value: Any) -> TypeGuard[str]:
    """Whether this is the id of a run: 1 to 128 printable characters."""
    return isinstance(value, str) and _RUN_ID.fullmatch(value) is not None


def run_id_in(text: str) -> str:
    """Return the run id that stands in a text that may not be JSON, or "".

    Two of them are none: one may stand in the settings, and would answer for another run.
    """
    found = {run_id for run_id in _RUN_ID_IN_TEXT.findall(text) if _RUN_ID.fullmatch(run_id)}
    return found.pop() if len(found) == 1 else ""


def safe_payload(entry: Entry) -> str:
    """Return an entry's payload as it may be kept in a dead letter: without credentials.

    JSON keeps its shape with `_` settings masked. Text that does not parse, or of which we
    have only an excerpt, is cut where the first credential may begin, since nobody can tell
    where it ends.
    """
    payload = entry.fields.get("payload", "")
    try:
        if entry.is_whole:
            text = json.dumps(_masked(json.loads(payload)), ensure_ascii=True)
            if len(text) <= LARGEST_IN_A_LETTER:
                return text
            return f"{text[:EXCERPT]}… ({entry.payload_bytes} bytes)"
    except (ValueError, RecursionError):
        pass
    found = _CREDENTIAL.search(payload)
    cut = payload[: min(found.start() if found else EXCERPT, EXCERPT)]
    return cut if cut == payload else f"{cut}… ({entry.payload_bytes} bytes)"


def without_any_credentials(value: Any) -> Any:
    """Return settings with the values of all `_` keys masked, at any depth."""
    return _masked(value)


def request_payload(request: Request) -> str:
    """Return the JSON text of a request, to the byte as the Go application writes it."""
    body = {
        "plugin_run_id": request.run_id,
        "plugin_name": request.plugin,
        "user_id": request.user_id,
        "settings": dict(request.settings),
    }
    return text_of(body, is_struct=True)


def entry_fields(payload: str) -> dict[str, str]:
    """Return the three fields that we write on both streams."""
    now = str(int(time.time()))
    return {"payload": payload, "published_at": now, "schema_version": SCHEMA_VERSION}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unfit(value: Any) -> str:
    """Say why a value cannot travel on to the worker: too deep, or not Unicode."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return f"are nested deeper than {DEEPEST} levels"
        parts = (
            p.values() if isinstance(p, dict) else p for p in level if isinstance(p, dict | list)
        )
        level = [part for group in parts for part in group]
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # UnicodeEncodeError is one: a lone surrogate; else 1e999
        return f"hold a value that is no Unicode text or no finite number ({type(error).__name__})"
    return ""


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: MASK if str(k).startswith("_") else _masked(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_masked(part) for part in value]
    # JSON inside a string: a producer that encoded twice, with the credentials in it.
    if isinstance(value, str) and _CREDENTIAL_NAMED.search(value):
        return MASK
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        return MASK if _CREDENTIAL.search(value) else value
    return value
