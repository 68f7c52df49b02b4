"""What an application asks for, checked before anything is sent.

The rules are those of the wire contract, asked of the same parser that the supervisor uses:
what passes here is not refused there, and what would be buried at once is never published.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from supervisor.streams.keys import PRIORITIES
from supervisor.streams.publish import Publication
from supervisor.streams.wire import Entry, Rejected, Request, entry_fields, parse, request_payload
from worker.errors import CrewpoolError


class RequestInvalid(CrewpoolError):  # noqa: N818  # named for what happened
    """The request cannot be written as the wire contract has it. A retry cannot help."""

    is_retryable = False

    def __init__(self, run_id: str, problem: str) -> None:
        self.run_id = run_id
        self.problem = problem
        super().__init__(f"Run {run_id[:80]!r} was not published: {problem}")


@dataclass(frozen=True)
class PluginRequest:
    """One run of a plugin for a user.

    `settings` may hold credentials under keys that begin with `_`. `at` is unix time,
    `delay_s` a length from now: one of them, or none for at once. `unique_for_s` keeps other
    runs of the same plugin, user and settings out for so long, at most until this one ends.
    Publishing the same `plugin_run_id` again is safe: a run that is known is not started twice.
    """

    plugin_name: str
    user_id: int
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    plugin_run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    priority: str = "normal"
    at: float | None = None
    delay_s: float = 0.0
    unique_for_s: float | None = None

    def publication(self, max_payload_bytes: int) -> Publication:
        """Return what is to be published. Raises RequestInvalid with the rule that it breaks."""
        request = Request(self.plugin_run_id, self.plugin_name, self.user_id, self.settings)
        problem = self._problem_of_types() or self._problem()
        try:
            payload = "" if problem else request_payload(request)
            size = len(payload.encode())
        except (TypeError, ValueError, RecursionError) as error:
            # An object that JSON does not know, NaN, a lone surrogate, a ring.
            told = f"its settings cannot be written as JSON: {str(error)[:200]}"
            raise RequestInvalid(str(self.plugin_run_id), told) from None
        if not problem:
            is_whole = size <= max_payload_bytes
            checked = parse(
                Entry("", "", entry_fields(payload), size, is_whole=is_whole), max_payload_bytes
            )
            problem = checked.error if isinstance(checked, Rejected) else ""
        if problem:
            raise RequestInvalid(str(self.plugin_run_id), problem)
        return Publication(
            request,
            payload,
            self.priority,
            at=self.at,
            delay_s=self.delay_s,
            unique_for_s=self.unique_for_s,
        )

    def _problem_of_types(self) -> str:
        # What JSON would hide: 1.0 is written as 1, and a list of pairs makes a dict.
        if isinstance(self.user_id, bool) or not isinstance(self.user_id, int):
            return "user_id must be an unsigned integer"
        if not isinstance(self.settings, Mapping):
            return "settings must be a mapping, such as a dict"
        times = {
            "delay_s": self.delay_s,
            "unique_for_s": self.unique_for_s or 0,
            "at": self.at or 0,
        }
        for name, value in times.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                return f"{name} must be a number of seconds"
        return ""

    def _problem(self) -> str:
        if self.priority not in PRIORITIES:
            return f"priority {str(self.priority)[:40]!r} is none of {', '.join(PRIORITIES)}"
        if self.at is not None and self.delay_s:
            return "at and delay_s both say when: give one of them"
        lengths = {"delay_s": self.delay_s, "unique_for_s": self.unique_for_s or 0.0}
        lengths["at"] = (self.at or time.time()) - time.time()
        for name, length_s in lengths.items():
            # Also false for NaN.
            if not -(10**12) < length_s < 10**10 or (length_s < 0 and name != "at"):
                return f"{name} is no time that could come"
        return ""
