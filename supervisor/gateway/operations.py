"""What the gateway can do: one table, from which its routes and its OpenAPI document are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from supervisor.gateway.models import Accepted, Alive, Cancelled, NotReady, Ready, Run, RunRequest

EVENT_STREAM = "text/event-stream"
EVENTS = "events"
# What no operation is asked for with.
OTHER = "other"
_OF_BODIES = ("not-json", "bad-request", "too-slow", "too-large", "wrong-type", "invalid")


@dataclass(frozen=True)
class Operation:
    """One method on one path. `name` is that of the method of Api which does it.

    `answers` has the model of each status, None for no body of JSON; `problems` are kinds of
    problems.py. `headers` are parameters that it reads, and what they are for.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: Mapping[int, type[BaseModel] | None]
    description: str = ""
    asks: type[BaseModel] | None = None
    problems: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    is_public: bool = False

    @property
    def is_of_a_run(self) -> bool:
        """Whether its path names a run."""
        return "{run_id}" in self.path


OPERATIONS = (
    Operation(
        "POST",
        "/v1/runs",
        "ask",
        "Ask for a run",
        {202: Accepted, 200: Accepted},
        "202: the run is accepted. 200: it was asked for before, or another one like it is on. "
        "Location is where it is told of.",
        RunRequest,
        (
            *(*_OF_BODIES, "unknown-plugin", "key-reused", "run-id-taken", "has-ended"),
            *("queue-full", "away", "busy"),
        ),
        {
            "Idempotency-Key": "Makes the request safe to repeat: the same key is the same run. "
            "1 to 256 printable ASCII characters, best a UUID."
        },
    ),
    Operation(
        "GET",
        "/v1/runs/{run_id}",
        "show",
        "Look at a run",
        {200: Run},
        problems=("unknown-run", "result-gone", "away", "busy"),
    ),
    Operation(
        "GET",
        "/v1/runs/{run_id}/events",
        EVENTS,
        "Follow a run",
        {200: None, 204: None},
        "Server-sent events: `progress` (Step) whenever there is some, the latest only; "
        "`result` (Ending) once; `end` (End), after which nothing comes. 204 to who has seen "
        "the end.",
        problems=("unknown-run", "result-gone", "busy", "away"),
        headers={"Last-Event-ID": "The id of the last event that was seen; it is not sent again."},
    ),
    Operation(
        "POST",
        "/v1/runs/{run_id}/cancel",
        "cancel",
        "Cancel a run",
        {202: Cancelled},
        "Its result follows: failed, with the error `cancelled`.",
        problems=("unknown-run", "has-ended", "away"),
    ),
    Operation(
        "GET",
        "/openapi.json",
        "document",
        "This document",
        {200: None},
        is_public=True,
    ),
    Operation(
        "GET",
        "/health/live",
        "live",
        "Whether the gateway runs",
        {200: Alive},
        is_public=True,
    ),
    Operation(
        "GET",
        "/health/ready",
        "ready",
        "Whether runs would be taken now",
        {200: Ready, 503: NotReady},
        is_public=True,
    ),
)
PUBLIC = frozenset(operation.path for operation in OPERATIONS if operation.is_public)
