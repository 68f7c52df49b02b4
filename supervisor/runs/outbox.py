"""A run on its way through the records: what is kept of a request, and made of it again.

Credentials are masked in what is kept for good, and sealed in what is kept until the run is
published. Needs nothing of the extra `records` but for what must be sealed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from supervisor.runs.errors import OutboxKeyMissing, OutboxKeyUnfit
from supervisor.runs.requests import PluginRequest
from supervisor.streams.wire import without_any_credentials

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun
    from supervisor.runs.sealing import Sealer


@dataclass(frozen=True)
class NewRun:
    """What is recorded of a request. `settings` and `payload` may be kept as they are."""

    request: PluginRequest
    settings: Mapping[str, Any]
    payload: str
    digest: str

    @classmethod
    def of(cls, request: PluginRequest, sealer: "Sealer | None", max_payload_bytes: int) -> Self:
        """Check a request, and seal it if it holds credentials.

        Raises RequestInvalid, OutboxKeyMissing.
        """
        publication = request.publication(max_payload_bytes)
        settings = json.loads(publication.payload)["settings"]
        masked, payload = without_any_credentials(settings), publication.payload
        if masked != settings:
            if sealer is None:
                raise OutboxKeyMissing(request.plugin_run_id)
            payload = sealer.sealed(payload)
        return cls(request, masked, payload, publication.unique)

    @property
    def run_id(self) -> str:
        """The id that the application knows it by."""
        return self.request.plugin_run_id

    @property
    def unique_for_s(self) -> float | None:
        """How long no other run may ask for the same; None where others may."""
        return self.request.unique_for_s

    def values(self, now: datetime) -> dict[str, Any]:
        """Return the columns of its record, asked for at this time."""
        values = {
            "plugin_run_id": self.run_id,
            "plugin_name": self.request.plugin_name,
            "user_id": self.request.user_id,
            "input": self.settings,
            "priority": self.request.priority,
            "payload": self.payload,
            "digest": self.digest,
            "created_at": now,
            "due_at": self._due_at(now),
        }
        if self.unique_for_s is not None:
            values["unique_key"] = self.digest
            values["unique_until"] = now + timedelta(seconds=self.unique_for_s)
        return values

    def _due_at(self, now: datetime) -> datetime | None:
        delay_s = self.request.delay_s
        if self.request.at is not None:
            delay_s = self.request.at - now.timestamp()
        return now + timedelta(seconds=delay_s) if delay_s > 0 else None


def request_of(run: "PluginRun", sealer: "Sealer | None") -> PluginRequest:
    """Return the request of a run that waits in the outbox, as it is to be published.

    It is not unique any more: whether it may run was decided when it was recorded. Raises
    OutboxKeyUnfit.
    """
    payload = run.payload or ""
    if not payload.startswith("{"):
        # What had no credentials was not sealed.
        if sealer is None:
            raise OutboxKeyUnfit("CREWPOOL_OUTBOX_KEY_FILE", "it is not set, and the run is sealed")
        payload = sealer.opened(payload)
    return PluginRequest(
        plugin_name=run.plugin_name,
        user_id=run.user_id,
        settings=json.loads(payload)["settings"],
        plugin_run_id=run.plugin_run_id,
        priority=run.priority,
        at=run.due_at.astimezone(UTC).timestamp() if run.due_at else None,
    )
