"""How much is waiting: the lag of each request stream and what is pending, for metrics."""

from dataclasses import dataclass, field
from typing import Any

from supervisor.streams.connection import answering
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded


@dataclass
class Gauges:
    """The last figures. `lag` is never NaN: an unknown one keeps its last value."""

    lag: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)

    async def refresh(self, queue: Queue) -> None:
        """Ask Redis for the figures of all request streams."""
        client = queue.client
        async with answering(client):
            pipeline = client.pipeline(transaction=False)
            for stream in queue.keys.request_streams:
                pipeline.xinfo_groups(stream)
            answers = await pipeline.execute()
        for stream, groups in zip(queue.keys.request_streams, answers, strict=True):
            for group in groups:
                self._note(stream, decoded(group), queue.keys.group)

    def _note(self, stream: str, group: dict[str, Any], ours: str) -> None:
        if group["name"] != ours:
            return
        self.pending[stream] = int(group["pending"])
        # nil after an XDEL of an undelivered entry or an AOF restart of 7.0 (trap R14).
        if isinstance(group.get("lag"), int):
            self.lag[stream] = group["lag"]
        self.lag.setdefault(stream, 0)
