"""A run between being taken from Redis and being ended there, as the loop holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from supervisor.pool.postmortem import PostMortem
from supervisor.receipts import Receipt
from supervisor.streams.facts import Taken
from supervisor.streams.wire import Entry, Request
from worker.redact import secrets_of


class Stage(Enum):
    """WAITING for its slot's worker → RUNNING in it → SETTLING in Redis."""

    WAITING = "waiting"
    RUNNING = "running"
    SETTLING = "settling"


@dataclass
class InHand:
    """One run of one slot. `request` is None when the entry was no run at all; `started_at` is
    unix time; `code` is the hash of the plugin's files, "" while nobody has told it.
    """

    taken: Taken
    request: Request | None
    timeout_s: float
    stage: Stage = Stage.WAITING
    secrets: tuple[str, ...] = ()
    started_at: float = 0.0
    code: str = ""
    grace_s: float = 0.0
    post_mortem: PostMortem | None = None
    receipt: Receipt | None = None

    @classmethod
    def of(cls, taken: Taken, request: Request, timeout_s: float) -> "InHand":
        """Hold a checked request."""
        return cls(taken, request, timeout_s, secrets=secrets_of(request.settings, {}))

    def hide(self, env: Mapping[str, str]) -> None:
        """Keep what this run's plugin alone may see out of all that is written down."""
        if env and self.request is not None:
            self.secrets = secrets_of(self.request.settings, {}, env.values())

    @property
    def entry(self) -> Entry:
        """The entry in Redis."""
        return self.taken.entry

    @property
    def run_id(self) -> str:
        """The run; "" when no id could be read."""
        return self.request.run_id if self.request else ""
