"""What the demo asks for, and how each of it must end. Facts only; nothing is done here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.cli import outputs, wording
from supervisor.streams.wire import Request, request_payload

DIGEST = "daily-news-digest"
OVERRUNS = "overruns"
TIMEOUT_S = 3

# A plugin as anybody could write it by accident: one call in C that never ends, holds the
# GIL and never looks for signals. Nothing inside the process can stop it.
OVERRUNS_FILES = {
    "plugin.yaml": (
        f"name: {OVERRUNS}\ndescription: A crew that never ends by itself.\n"
        f'version: "1.0"\ntimeout_s: {TIMEOUT_S}\n'
    ),
    "settings.schema.json": '{"type": "object", "additionalProperties": false}\n',
    "crew/crew.py": (
        '"""A crew that never ends by itself."""\n\n'
        "from collections import deque\nfrom itertools import repeat\n\n\n"
        "class Spins:\n"
        '    """One call in C, for ever."""\n\n'
        "    def kickoff(self, inputs):\n"
        "        deque(repeat(None), maxlen=0)\n\n\n"
        "def create_crew(settings):\n"
        '    """Return the crew."""\n'
        "    return Spins()\n"
    ),
}


@dataclass
class DemoRun:
    """One run: what was asked, what must come of it, and what is known of it by now."""

    run_id: str
    plugin: str
    asked: str
    payload: str
    status: str
    error: str = ""
    record: Mapping[str, str] = field(default_factory=dict)
    results: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether a result came."""
        return bool(self.results)

    @property
    def state(self) -> str:
        """Where it is."""
        if self.results:
            return str(self.results[0].get("status"))
        return self.record.get("state", "waiting")

    @property
    def told_error(self) -> str:
        """The error of its result, "" without one."""
        return str(self.results[0].get("error") or "") if self.results else ""

    @property
    def meta(self) -> Mapping[str, Any]:
        """The extras of its result."""
        meta = self.results[0].get("meta") if self.results else None
        return meta if isinstance(meta, dict) else {}

    @property
    def seconds(self) -> float:
        """How long its crew ran."""
        return wording.number(self.meta, "duration_s") or wording.running_s(self.record)

    @property
    def tokens(self) -> float:
        """What the model used for it."""
        return outputs.tokens_of(self.meta) or wording.number(self.record, "tokens")

    @property
    def slot(self) -> str:
        """The slot that ran it, "" when no worker had it."""
        return self.worker.rpartition(".")[2]

    @property
    def worker(self) -> str:
        """The consumer that had it. Requests that make no sense have it in their record only."""
        return str(self.meta.get("worker") or self.record.get("worker") or "")

    def problem(self) -> str:
        """Say how its end differs from what must come of it, "" when it does not."""
        if not self.results:
            return f"{self.run_id} has no result"
        if len(self.results) > 1:
            return f"{self.run_id} has {len(self.results)} results"
        if self.state != self.status or not self.told_error.startswith(self.error):
            wanted = f"{self.status} {self.error}".strip()
            return f"{self.run_id} ended as {self.state} {self.told_error!r} instead of {wanted}"
        return ""


def all_runs() -> list[DemoRun]:
    """Return the runs in the order in which they are published."""
    overruns = Request("overruns", OVERRUNS, 42, {})
    too_long = f"Workflow exceeded {TIMEOUT_S}s timeout"
    return [
        _digest("news-technology", ["technology"]),
        DemoRun(
            *(overruns.run_id, OVERRUNS, f"never ends; {TIMEOUT_S} s allowed"),
            *(request_payload(overruns), "failed", too_long),
        ),
        _digest("news-science", ["science"]),
        _digest("news-business", ["business", "transport"]),
        DemoRun(
            *("not-json", DIGEST, "a payload that is cut off"),
            '{"plugin_run_id": "not-json", "plugin_name": "daily-news-digest", "setti',
            *("failed", "The payload is not valid JSON"),
        ),
        DemoRun(
            *("wrong-type", DIGEST, "topics: 42"),
            request_payload(Request("wrong-type", DIGEST, 42, {"topics": 42})),
            *("failed", "Settings do not fit"),
        ),
        _digest("news-climate", ["climate", "health"]),
    ]


def _digest(run_id: str, topics: list[str]) -> DemoRun:
    payload = request_payload(Request(run_id, DIGEST, 42, {"topics": topics}))
    return DemoRun(run_id, DIGEST, f"topics: {', '.join(topics)}", payload, "completed")


def digest_of(run: DemoRun) -> str:
    """Return the Markdown that a completed run wrote, "" when there is none."""
    try:
        output = json.loads(str(run.results[0]["output"]))
        return str(output["raw"])
    except (IndexError, KeyError, TypeError, ValueError):
        return ""
