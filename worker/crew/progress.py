"""Follows a crew through CrewAI's event bus: task k of n, agent, tool, calls, tokens.

Handlers run in threads of the bus (trap C6), so counting is behind a lock and sending is
the socket's business. Tokens come from LLMCallCompletedEvent alone: a crew's
`usage_metrics` multiplies them when agents share a model (trap C9).
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from worker.crew.output import clean
from worker.protocol import LONGEST_NAME, MOST_MODELS, OTHER_MODELS, Progress, Tokens

# Between two reports that differ only in counts; a new task or tool is told at once.
QUIET_S = 0.2
FLUSH_S = 2.0


class Tracker:
    """What is known of one run's progress; calls `tell` when it is worth telling."""

    def __init__(
        self, run_id: str, tell: Callable[[Progress], None], mask: Callable[[str], str] = str
    ) -> None:
        self._now = Progress(run_id=run_id)
        self._mask = mask
        self._tell = tell
        self._lock = threading.Lock()
        self._told_at = 0.0
        # Agents may ask at the same time; the one that was asked last is told.
        self._calls: dict[str, str] = {}

    @property
    def tokens(self) -> Tokens:
        """The tokens so far."""
        return self._now.tokens

    @property
    def models(self) -> dict[str, Tokens]:
        """The same by model."""
        return self._now.models

    @property
    def code(self) -> str:
        """The hash of the plugin's files, "" before it is known."""
        return self._now.code

    def imports(self, code: str, *, is_news: bool) -> None:
        """Note which code the run is of; told at once where the zygote has not told it."""
        with self._lock:
            self._now = self._now.model_copy(update={"code": code})
            self._tell_if(is_news)

    def planned(self, tasks: int) -> None:
        """Note how many tasks the crew has."""
        self._change(tasks=tasks)

    def task_started(self, name: str, agent: str) -> None:
        """Note that the next task began."""
        self._change(
            task=self._now.task + 1, task_name=self._short(name), agent=self._short(agent), tool=""
        )

    def agent_started(self, agent: str) -> None:
        """Note who is at work."""
        self._change(agent=self._short(agent))

    def tool_started(self, tool: str) -> None:
        """Note the tool in use."""
        self._change(tool=self._short(tool))

    def tool_ended(self) -> None:
        """Note that no tool is in use."""
        self._change(tool="")

    def call_started(self, call_id: str, model: str) -> None:
        """Note that a model was asked; told at once, because nothing else may follow."""
        with self._lock:
            self._calls[call_id] = self._short(model)
            self._now = self._now.model_copy(update={"call": self._latest_call()})
            self._tell_if(True)

    def call_completed(self, call_id: str, usage: dict[str, Any] | None, model: str) -> None:
        """Count one LLM call and its tokens, in all and by model."""
        usage = usage or {}
        used = Tokens(
            prompt=_count(usage.get("prompt_tokens")),
            completion=_count(usage.get("completion_tokens")),
            calls=1,
        )
        with self._lock:
            models = dict(self._now.models)
            name = self._short(model)[:LONGEST_NAME]
            if name not in models and len(models) >= MOST_MODELS - 1:
                name = OTHER_MODELS
            models[name] = models.get(name, Tokens()).plus(used)
            self._end_call(call_id, tokens=self._now.tokens.plus(used), models=models)

    def call_failed(self, call_id: str) -> None:
        """Note that a model did not answer."""
        with self._lock:
            self._end_call(call_id)

    def stop(self) -> None:
        """Tell nothing any more: the outcome is the last word about a run."""
        with self._lock:
            self._tell = _nobody

    def _short(self, text: str) -> str:
        # Masked before it is cut, or a credential across the cut would show its head.
        return self._mask(clean(" ".join(str(text).split())))[:120]

    def _change(self, **facts: object) -> None:
        with self._lock:
            after = self._now.model_copy(update=facts)
            is_news = after != self._now
            self._now = after
            self._tell_if(is_news)

    def _end_call(self, call_id: str, **facts: object) -> None:
        was_known = self._calls.pop(call_id, None) is not None
        self._now = self._now.model_copy(update={"call": self._latest_call(), **facts})
        # A crew that is killed in the code after a call must not be taken for waiting on it.
        self._tell_if(was_known or time.monotonic() - self._told_at >= QUIET_S)

    def _latest_call(self) -> str:
        return next(reversed(self._calls.values()), "")

    def _tell_if(self, is_due: bool) -> None:  # noqa: FBT001  # a condition, read aloud
        if is_due:
            self._told_at = time.monotonic()
            self._tell(self._now)


class Listener:
    """Connects the event bus of this process to the tracker of the current run."""

    def __init__(self) -> None:
        self._tracker: Tracker | None = None
        self._is_attached = False

    def follow(self, tracker: Tracker) -> None:
        """Send what the bus says to this tracker from now on.

        Without crewai in the process there is no bus: a plugin need not be a CrewAI crew.
        """
        self._tracker = tracker
        if not self._is_attached and "crewai" in sys.modules:
            self._attach()
            self._is_attached = True

    def settle(self) -> None:
        """Wait until the bus has handed out what the crew emitted, then stop following."""
        if self._is_attached:
            from crewai.events import crewai_event_bus  # noqa: PLC0415  # only where it is loaded

            crewai_event_bus.flush(timeout=FLUSH_S)
        self._tracker = None

    def _attach(self) -> None:
        from crewai import events  # noqa: PLC0415  # costs seconds; only when a crew needs it

        def on(event: Any, note: Callable[[Tracker, Any], None]) -> None:
            def handler(_source: Any, happened: Any) -> None:
                if (tracker := self._tracker) is not None:
                    note(tracker, happened)

            events.crewai_event_bus.register_handler(event, handler)

        on(events.TaskStartedEvent, lambda t, e: t.task_started(_name_of(e), _agent_of(e)))
        on(events.AgentExecutionStartedEvent, lambda t, e: t.agent_started(e.agent.role))
        on(events.ToolUsageStartedEvent, lambda t, e: t.tool_started(e.tool_name))
        on(events.ToolUsageFinishedEvent, lambda t, _: t.tool_ended())
        on(events.ToolUsageErrorEvent, lambda t, _: t.tool_ended())
        on(events.LLMCallStartedEvent, lambda t, e: t.call_started(e.call_id, _model_of(e)))
        on(
            events.LLMCallCompletedEvent,
            lambda t, e: t.call_completed(e.call_id, e.usage, _model_of(e)),
        )
        on(events.LLMCallFailedEvent, lambda t, e: t.call_failed(e.call_id))


def _name_of(event: Any) -> str:
    return str(event.task_name or getattr(event.task, "description", ""))


def _agent_of(event: Any) -> str:
    return str(getattr(getattr(event.task, "agent", None), "role", "") or "")


def _model_of(event: Any) -> str:
    return str(event.model or "?")


def _nobody(_progress: Progress) -> None:
    """Listen to a run that is over."""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
