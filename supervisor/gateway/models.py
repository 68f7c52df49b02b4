"""What goes over HTTP, as models: requests are checked with them, the OpenAPI document is made
of them, and the bodies of answers are written by them.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from supervisor.streams.wire import LARGEST_USER_ID
from worker.plugins import NAME

Status = Literal["pending", "processing", "completed", "failed"]
Priority = Literal["critical", "high", "normal", "low"]
What = Literal["published", "delayed", "waiting", "known", "unique"]
RUN_ID = "^[A-Za-z0-9][A-Za-z0-9._:@~-]{0,127}$"
LONGEST_DELAY_S = 10**9
_STATUS_OF: Mapping[str, Status] = {
    "running": "processing",
    "completed": "completed",
    "failed": "failed",
}


def status_of(state: str) -> Status:
    """Return the status of a run whose record in Redis has this state.

    >>> status_of("parked"), status_of("running")
    ('pending', 'processing')
    """
    return _STATUS_OF.get(state, "pending")


class RunRequest(BaseModel):
    """A run of a plugin for a user."""

    # No value is ever quoted in an error: it may be a credential in the wrong place.
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    plugin_name: str = Field(pattern=f"^{NAME.pattern}$", examples=["hello"])
    user_id: int = Field(ge=0, le=LARGEST_USER_ID, examples=[7])
    settings: dict[str, Any] | None = Field(
        default=None,
        description="What the crew gets. Values of keys that begin with _ are credentials: they "
        "reach the crew, and are shown nowhere.",
        examples=[{"name": "Ada"}],
    )
    plugin_run_id: str | None = Field(
        default=None,
        pattern=RUN_ID,
        description="The id of the run, where the caller has one: a run that is known is not "
        "started again. Not together with Idempotency-Key.",
    )
    priority: Priority = "normal"
    at: float | None = Field(
        default=None,
        ge=0,
        le=10**10,
        allow_inf_nan=False,
        description="Start it then: unix seconds. Not together with delay_s.",
    )
    delay_s: float = Field(
        default=0.0,
        ge=0,
        le=LONGEST_DELAY_S,
        allow_inf_nan=False,
        description="Start it so many seconds from now.",
    )
    unique_for_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_DELAY_S,
        allow_inf_nan=False,
        description="For so long, at most until this run ends, another request for the same "
        "plugin, user and settings gets the id of this run, and starts none.",
    )


class Accepted(BaseModel):
    """What became of a request. `what` is waiting while Redis is away: the run is recorded, and
    is published when Redis is back. Known: the same run was asked for before. Unique: another
    run of the same plugin, user and settings is on, and this is its id.
    """

    plugin_run_id: str
    status: Status
    what: What


class Progress(BaseModel):
    """How far a run is that has not ended, as its supervisor told last."""

    state: str = Field(examples=["running"])
    attempt: int | None = None
    task: int | None = Field(default=None, description="The task that the crew is at, from 1.")
    tasks: int | None = None
    task_name: str | None = None
    agent: str | None = None
    tool: str | None = None
    llm_calls: int | None = None
    tokens: int | None = None
    due_at: float | None = Field(default=None, description="Unix seconds; of a delayed run.")

    @classmethod
    def of(cls, facts: Mapping[str, str]) -> "Progress":
        """Return what a record in Redis tells. Anybody may have written it."""
        texts = {
            name: clean(facts[name][:200])
            for name in ("task_name", "agent", "tool")
            if name in facts
        }
        numbers = {
            name: whole(facts.get(name, ""))
            for name in ("attempt", "task", "tasks", "llm_calls", "tokens")
        }
        due_at = number(facts.get("due_at", "")) if facts.get("state") == "delayed" else None
        state = clean(facts.get("state", "pending")[:20])
        return cls(state=state, due_at=due_at, **{**texts, **numbers})


class Step(BaseModel):
    """The event `progress`: where a run is by now."""

    plugin_run_id: str
    status: Status
    progress: Progress


class Run(BaseModel):
    """A run. What is not known is null: without run records there is no `input`, for example."""

    plugin_run_id: str
    status: Status
    plugin_name: str | None = None
    user_id: int | None = None
    priority: str | None = None
    input: Any = Field(default=None, description="The settings, with credentials masked.")
    output: Any = Field(default=None, description="What the crew made.")
    error: str = ""
    attempts: int = 0
    receipt: dict[str, Any] | None = Field(default=None, description="What the run used.")
    created_at: str | None = Field(default=None, description="RFC 3339, as all times here.")
    due_at: str | None = None
    published_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_s: float | None = None
    progress: Progress | None = None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in ("completed", "failed")


class Ending(BaseModel):
    """The event `result`: how a run ended."""

    plugin_run_id: str
    status: Status
    output: Any = None
    error: str = ""


class End(BaseModel):
    """The event `end`, after which nothing comes. With `shutdown` the run may go on: ask again.
    With `unknown` nothing is known of it any more.
    """

    plugin_run_id: str
    because: Literal["ended", "unknown", "shutdown"]


class Cancelled(BaseModel):
    """A cancel that was carried out, or is about to be: of a run that was `processing` the
    supervisor is told, and its result follows.
    """

    plugin_run_id: str
    was: Status


class Problem(BaseModel):
    """What is wrong, after RFC 9457. `type` is for programs, `detail` for people."""

    type: str = Field(examples=["urn:crewpool:problem:unknown-run"])
    title: str
    status: int
    detail: str
    errors: list["Place"] | None = None
    plugin_run_id: str | None = None


class Place(BaseModel):
    """One thing that is wrong in a body. The pointer is that of RFC 6901."""

    pointer: str
    detail: str


class Alive(BaseModel):
    """The gateway runs."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Runs are taken. Redis may be away where runs are recorded: they wait then."""

    status: Literal["ready"] = "ready"
    redis: Literal["connected", "away"]


class NotReady(BaseModel):
    """No run would be taken now."""

    status: Literal["not_ready"] = "not_ready"
    error: str


def clean(text: str) -> str:
    """Return a text that can be written as UTF-8: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def number(text: str) -> float | None:
    """Return a number that somebody wrote, None where it is none.

    >>> number("1.5"), number("nan"), number("x")
    (1.5, None, None)
    """
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def whole(text: str) -> int | None:
    """Return a whole number that somebody wrote, None where it is none."""
    found = number(text)
    return None if found is None else int(found)
