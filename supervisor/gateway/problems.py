"""What is wrong with a request, or with us: problem details after RFC 9457.

Raised anywhere below a handler, written by the middleware. The sentences say what to do, and
never quote a value: it may be a credential.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from supervisor.errors import RedisAway
from supervisor.gateway.models import Place, Problem
from supervisor.runs.errors import RecordsAway, RunIdTaken
from supervisor.runs.publisher import PublishFailed
from supervisor.runs.requests import RequestInvalid
from supervisor.streams.inspect import Refused
from supervisor.streams.publish import QueueFull
from worker.errors import CrewpoolError

CONTENT_TYPE = "application/problem+json"
# In all answers: who serves, and no versions.
SERVER = "crewpool"
AWAY_RETRY_S = 2
BUSY_RETRY_S = 5
FULL_RETRY_S = 5
MEND = "The operator of this gateway must mend it; its log says what (next: crewpool doctor)."
KINDS: Mapping[str, tuple[int, str]] = {
    "not-json": (400, "The body is not JSON"),
    "bad-request": (400, "The request cannot be read"),
    "unauthorized": (401, "A token is needed"),
    "foreign-page": (403, "Pages from elsewhere may not ask"),
    "no-such-path": (404, "There is nothing here"),
    "unknown-run": (404, "The run is not known"),
    "wrong-method": (405, "The method is not allowed here"),
    "too-slow": (408, "The body did not come in time"),
    "run-id-taken": (409, "Another run has this id"),
    "has-ended": (409, "The run has ended"),
    "result-gone": (410, "The run has ended, and how is not kept any more"),
    "too-large": (413, "The body is too large"),
    "wrong-type": (415, "The body must be application/json"),
    "misdirected": (421, "This gateway serves its own machine only"),
    "invalid": (422, "The request breaks a rule"),
    "unknown-plugin": (422, "The plugin is not known"),
    "key-reused": (422, "The Idempotency-Key was used for another request"),
    "queue-full": (429, "As many runs wait as may wait"),
    "bug": (500, "This is a bug in crewpool"),
    "away": (503, "Redis or the records are away"),
    "busy": (503, "Too many are connected"),
    "misconfigured": (503, "The gateway cannot do this as it is set up"),
}


class Refusal(CrewpoolError):  # noqa: N818  # named for what happened
    """A request is not carried out: `kind` is one of KINDS, `detail` says what to do."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        retry_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Place] = (),
        run_id: str | None = None,
    ) -> None:
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)
        self.run_id = run_id
        if retry_s is not None:
            self.headers["Retry-After"] = str(retry_s)
        super().__init__(detail)

    @property
    def status(self) -> int:
        """The status of its answer."""
        return KINDS[self.kind][0]

    def response(self) -> web.Response:
        """Return the answer."""
        status, title = KINDS[self.kind]
        problem = Problem(
            type=f"urn:crewpool:problem:{self.kind}",
            title=title,
            status=status,
            detail=self.detail,
            errors=self.errors or None,
            plugin_run_id=self.run_id,
        )
        body = problem.model_dump_json(exclude_none=True).encode()
        headers = {**self.headers, "Content-Type": CONTENT_TYPE}
        response = web.Response(status=status, body=body, headers=headers)
        if self.headers.get("Connection") == "close":
            # The header alone tells the client, and not aiohttp.
            response.force_close()
        return response


def refusal_of(error: CrewpoolError) -> Refusal:
    """Return what the client is told of an error: no address, no name of ours in it."""
    match error:
        case Refusal():
            found = error
        case RequestInvalid():
            found = Refusal("invalid", f"Nothing was published: {error.problem}.")
        case RunIdTaken():
            told = "The id is that of a run with another plugin, user or settings: choose another."
            found = Refusal("run-id-taken", told, run_id=error.run_id)
        case PublishFailed():
            found = _of_publishing(error)
        case RedisAway() | Refused(is_passing=True):
            found = Refusal("away", "Redis does not answer now: ask again.", retry_s=AWAY_RETRY_S)
        case RecordsAway():
            told = "The run records do not answer now: ask again, for a run by its id or key."
            found = Refusal("away", told, retry_s=AWAY_RETRY_S)
        case _:
            found = Refusal("misconfigured", MEND)
    return found


def _of_publishing(error: PublishFailed) -> Refusal:
    run_id = error.run_id
    if isinstance(error.__cause__, QueueFull):
        told = "As many runs wait as may wait, and this one was not added: send it again later."
        return Refusal("queue-full", told, retry_s=FULL_RETRY_S, run_id=run_id)
    if not error.is_retryable:
        return Refusal("misconfigured", MEND, run_id=run_id)
    told = "Redis does not answer now, and the run was not accepted: send it again."
    if not error.is_known_to_have_failed:
        told = (
            "Redis went away while the run was published, and nobody knows whether it was: send "
            "it again with this plugin_run_id, and it is started once."
        )
    return Refusal("away", told, retry_s=AWAY_RETRY_S, run_id=run_id)


def of_http(error: web.HTTPException, most_bytes: int) -> Refusal:
    """Return the problem that stands for one of aiohttp's own answers."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Refusal("too-large", f"A body has at most {most_bytes} bytes: send less.")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Refusal("wrong-method", f"Allowed here: {allowed}.", headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return Refusal("no-such-path", "What there is stands in /openapi.json.")
    return Refusal("bad-request", f"{error.reason}.")


def json_response(
    model: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an answer with a model as its body."""
    body = model.model_dump_json().encode()
    return web.Response(
        status=status, body=body, headers=headers, content_type="application/json", charset="utf-8"
    )
