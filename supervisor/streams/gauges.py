"""How much is waiting: the lag of each request stream, what is pending, delayed and parked,
and which plugins are paused. For metrics and the log.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from supervisor.streams.connection import answering
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded


@dataclass
class Gauges:
    """The last figures. `lag` is never NaN: an unknown one keeps its last value.

    `parked` counts by plugin; `plugins` says which are paused, quarantined or probing.
    """

    lag: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    parked: dict[str, int] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    delayed: int = 0

    @property
    def is_anything_waiting(self) -> bool:
        """Whether some run is delayed or parked, or some plugin is held."""
        return bool(self.delayed or self.parked or self.plugins)

    async def refresh(self, queue: Queue) -> None:
        """Ask Redis for the figures of all request streams."""
        client, keys = queue.client, queue.keys
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            pipeline.zcard(keys.delayed)
            pipeline.hgetall(keys.parked_plugins)
            pipeline.hgetall(keys.plugins)
            for stream in keys.streams:
                pipeline.xinfo_groups(stream)
            delayed, parked, plugins, *answers = await pipeline.execute()
        self.delayed = int(delayed)
        # tidy.lua mends what somebody else wrote there; until then it is left out.
        counts = decoded(parked).items()
        self.parked = {name: int(count) for name, count in counts if count.isdigit()}
        states = {name: _state_in(text) for name, text in decoded(plugins).items()}
        self.plugins = {name: state for name, state in states.items() if state}
        for stream, groups in zip(keys.streams, answers, strict=True):
            for group in groups:
                self._note(stream, decoded(group), keys.group)

    def _note(self, stream: str, group: dict[str, Any], ours: str) -> None:
        if group["name"] != ours:
            return
        self.pending[stream] = int(group["pending"])
        # nil after an XDEL of an undelivered entry or an AOF restart of 7.0 (trap R14).
        if isinstance(group.get("lag"), int):
            self.lag[stream] = group["lag"]
        self.lag.setdefault(stream, 0)


def _state_in(text: str) -> str:
    try:
        facts = json.loads(text)
    except ValueError:
        return ""
    return str(facts.get("state") or "") if isinstance(facts, dict) else ""
