"""Writes messages to supervisors as another program does, and reads what they reply."""

import json
import time

from tests.support.waiting import wait_until

ALL = "crewpool:messages:all"
REPLIES = "crewpool:messages:reply:0123456789abcdef"


class Telling:
    """Tells one supervisor, or all when it is None; returns the reply when one is asked for."""

    def __init__(self, client):
        self._client = client

    def __call__(self, supervisor, kind, *, asks=True, **fields):
        stream = f"crewpool:messages:{supervisor.host}" if supervisor else ALL
        asker = {"id": f"a-{time.monotonic_ns()}", "reply_to": REPLIES} if asks else {}
        self._client.xadd(stream, {"kind": kind, **asker, **fields})
        return wait_until(lambda: self._reply(asker["id"]), 5) if asks else None

    def hosts(self):
        """Return who has replied to anything."""
        return {fields["host"] for _, fields in self._client.xrange(REPLIES)}

    def _reply(self, asker):
        for _, fields in self._client.xrange(REPLIES):
            if fields["id"] == asker:
                return fields | {"data": json.loads(fields["data"])}
        return None
