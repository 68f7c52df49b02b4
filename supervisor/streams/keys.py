"""The names of everything in Redis, as functions and fields, never as scattered strings."""

import re
from dataclasses import dataclass

from supervisor.settings import Settings

_TAG = re.compile(r"\{[^{}]+\}")


@dataclass(frozen=True)
class Keys:
    """The names that one deployment uses."""

    requests: str
    results: str
    dead_letters: str
    group: str
    results_group: str

    @classmethod
    def of(cls, settings: Settings) -> "Keys":
        """Return the names that the settings ask for."""
        return cls(
            settings.requests_stream,
            settings.results_stream,
            settings.dead_letters_stream,
            settings.requests_group,
            settings.results_group,
        )

    @property
    def request_streams(self) -> tuple[str, ...]:
        """The streams of requests, most urgent first; the plain name is priority normal."""
        return (
            f"{self.requests}:critical",
            f"{self.requests}:high",
            self.requests,
            f"{self.requests}:low",
        )

    @property
    def _prefix(self) -> str:
        # Scripts touch streams and these keys together: on a cluster they share a tag.
        tag = _TAG.search(self.requests)
        return f"{tag[0]}:crewpool" if tag else "crewpool"

    def done(self, run_id: str) -> str:
        """Name the marker that a run has its result (trap R19)."""
        return f"{self._prefix}:done:{run_id}"

    def record(self, run_id: str) -> str:
        """Name the hash that says where a run is."""
        return f"{self._prefix}:run:{run_id}"

    def host(self, host: str) -> str:
        """Name the heartbeat of one supervisor: JSON with a time to live."""
        return f"{self._prefix}:host:{host}"

    @property
    def hosts(self) -> str:
        """The sorted set of supervisors by the time of their last heartbeat."""
        return f"{self._prefix}:hosts"


def consumer_of(host: str, boot: str, slot: int | str) -> str:
    """Name a slot's consumer in the group: `<host>-<boot>.s<slot>`."""
    return f"{host}-{boot}.s{slot}" if isinstance(slot, int) else f"{host}-{boot}.{slot}"
