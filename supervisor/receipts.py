"""What a run used: its receipt. Facts in, a receipt out; nothing is read here.

Made by the ledger when an attempt ends, in whatever way. It goes into `meta` of the result,
the run record, the dead letter and the metrics, with the same names everywhere.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from supervisor.pool.handle import Running
from supervisor.pool.usage import Usage
from supervisor.streams.wire import Entry
from worker.protocol import Tokens


@dataclass(frozen=True)
class Receipt:
    """What one attempt used, as the kernel counted it, and its tokens, as the worker did.

    wall_s          from the assignment to the outcome, or to the death
    queue_wait_s    from publishing to the start of this attempt; None where nobody says when
    cpu_user_s, cpu_system_s, minor_faults, major_faults
                    of the worker's process and of its children that ended
    max_rss_bytes   the peak of the process during the run, with its children where it was polled
    attempts        starts so far, this one included
    tokens          by model
    """

    wall_s: float
    queue_wait_s: float | None
    cpu_user_s: float
    cpu_system_s: float
    max_rss_bytes: int
    minor_faults: int
    major_faults: int
    attempts: int
    tokens: Mapping[str, Tokens] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """The receipt as it stands in `meta`."""
        return {**self._figures(), "tokens": self._tokens()}

    @property
    def fields(self) -> dict[str, Any]:
        """The receipt as fields of a run record."""
        figures = self._figures()
        del figures["attempts"]  # the record has `attempt`
        by_model = json.dumps(self._tokens(), ensure_ascii=False) if self.tokens else None
        return {**figures, "tokens_by_model": by_model}

    def _figures(self) -> dict[str, Any]:
        figures = asdict(self)
        del figures["tokens"]
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in figures.items()
            if value is not None
        }

    def _tokens(self) -> dict[str, dict[str, int]]:
        return {model: tokens.model_dump() for model, tokens in self.tokens.items()}


def receipt_of(entry: Entry, run: Running, began_at: float, now: float) -> Receipt:
    """Return the receipt of an attempt that has ended.

    `began_at` is unix time, as is what publishers say; `now` is the loop's clock.
    """
    used, published_at = run.used or Usage(), entry.published_at
    waited_s = max(0.0, began_at - published_at) if published_at is not None else None
    said = run.outcome or run.progress
    return Receipt(
        wall_s=max(0.0, (run.ended_at or now) - run.started_at),
        queue_wait_s=waited_s,
        cpu_user_s=used.cpu_user_s,
        cpu_system_s=used.cpu_system_s,
        max_rss_bytes=used.max_rss_bytes,
        minor_faults=used.minor_faults,
        major_faults=used.major_faults,
        attempts=entry.attempt,
        tokens=said.models,
    )
