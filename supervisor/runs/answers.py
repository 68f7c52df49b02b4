"""What is asked of the records and what they answer, as data.

Importable without the extra `records`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from supervisor.streams.wire import Result

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun

ADDED, KNOWN, UNIQUE = "added", "known", "unique"
APPLIED, DUPLICATE, UNKNOWN = "applied", "duplicate", "unknown"


@dataclass(frozen=True)
class Added:
    """What became of a request: `added`, `known` from before, or not added because it must be
    `unique` and `run`, another one, is on.
    """

    what: str
    run: "PluginRun"


@dataclass(frozen=True)
class Arrival:
    """A result, and when its entry was written; None for now."""

    result: Result
    at: datetime | None = None


@dataclass(frozen=True)
class RunFilter:
    """Which runs are listed: those that match all that is given. Times are of the request."""

    statuses: Sequence[str] = ()
    plugin: str = ""
    user_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Page:
    """Runs, the newest first. `cursor` asks for those that follow; None at the end."""

    runs: "Sequence[PluginRun]"
    cursor: str | None = None
