"""Reads the body of a request: JSON, whole, in time, and without tricks.

What two parsers could read in two ways is refused: keys that come twice, NaN, bytes that are no
UTF-8. Strict content types also keep browsers out that some foreign page sends here.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from pydantic import ValidationError

from supervisor.gateway.models import Place, RunRequest, clean
from supervisor.gateway.problems import Refusal
from worker.problems import rule

BODY_S = 10.0
MOST_ERRORS = 5
LONGEST_KEY = 256


def idempotency_key_of(headers: Mapping[str, str]) -> str | None:
    """Return the value of Idempotency-Key, None without one. Raises Refusal."""
    keys = [value for name, value in headers.items() if name.lower() == "idempotency-key"]
    if not keys:
        return None
    (key, *more) = keys
    if more or not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        told = f"Idempotency-Key must have 1 to {LONGEST_KEY} printable ASCII characters, once."
        raise Refusal("bad-request", told)
    return key


async def read_run_request(request: web.Request) -> RunRequest:
    """Return what is asked for. Raises Refusal, and aiohttp's error for a body too large."""
    body = await _read_json(request)
    try:
        return RunRequest.model_validate(body)
    except ValidationError as error:
        raise _refused(error) from None


async def _read_json(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise Refusal("wrong-type", "Send it with Content-Type: application/json.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal("wrong-type", "Send it without Content-Encoding.")
    if (request.charset or "utf-8").lower() != "utf-8":
        raise Refusal("wrong-type", "Send it as UTF-8.")
    try:
        async with asyncio.timeout(BODY_S):
            data = await request.read()
    except TimeoutError:
        raise Refusal(
            "too-slow", f"The body must come within {BODY_S:g} s.", headers={"Connection": "close"}
        ) from None
    except RequestPayloadError:
        raise Refusal("bad-request", "The body is not what its headers say.") from None
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except RecursionError:
        raise Refusal("not-json", "The body is nested too deep.") from None
    except UnicodeDecodeError:
        raise Refusal("not-json", "The body is no UTF-8.") from None
    except json.JSONDecodeError as error:
        told = f"The body is not valid JSON: {error.msg} at line {error.lineno}."
        raise Refusal("not-json", told) from None
    except ValueError as error:
        # Of ours, or of int() for a number with thousands of digits.
        raise Refusal("not-json", f"The body is not valid JSON: {str(error)[:200]}.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")


def _refused(error: ValidationError) -> Refusal:
    """Return what is wrong, each with its place: no value is quoted."""
    parts = error.errors(include_url=False, include_input=False, include_context=True)
    errors = [_place(part) for part in parts[:MOST_ERRORS]]
    told = "; ".join(f"{place.pointer.lstrip('#/') or 'body'}: {place.detail}" for place in errors)
    return Refusal("invalid", f"Nothing was published: {told}.", errors=errors)


def _place(part: Any) -> Place:
    steps = [clean(str(step)[:40]) for step in part["loc"]]
    pointer = "#" + "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in steps)
    if part["type"] == "extra_forbidden":
        allowed = ", ".join(RunRequest.model_fields)
        return Place(pointer=pointer, detail=f"is no key that is known (allowed: {allowed})")
    return Place(pointer=pointer, detail=rule(part))
