"""An application that publishes steadily and does not give up: the other end of the streams.

It says a run is accepted when Redis acknowledged it, and where there is a replica, when that
has it too. What it does not know it publishes again under the same run id.

With an append-only file it looks whether the entry is written. With appendfsync everysec Redis
acknowledges before that while the disk is busy: what is still in its memory then, a kill -9
takes away. Seen here, on a busy machine.
"""

import itertools
import json
import threading
import time

import redis

from tests.support.redis_world import GROUP, REQUESTS, RedisWorld
from tests.support.servers import client_of

PACE_S = 0.1


class Application:
    """Publishes `runs` in a thread of its own. `primary` returns the server to talk to now."""

    def __init__(self, primary, runs, *, stream=REQUESTS, replicas=0, password=None):
        self.accepted = []
        self.failures = 0
        self._primary = primary
        self._runs = runs
        self._stream = stream
        self._replicas = replicas
        self._password = password
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._publish_all, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        """Leave, also when not all is published."""
        self._left.set()
        self._thread.join(10)

    @property
    def is_done(self):
        return len(self.accepted) == len(self._runs)

    def need_no_replica(self):
        """Be content with the primary from now on: the replica is the primary now."""
        self._replicas = 0

    def _publish_all(self):
        for number, (plugin, settings) in enumerate(self._runs):
            run_id = f"r-{number}-{plugin}"
            while not self._left.is_set() and not self._publish(run_id, plugin, settings):
                self.failures += 1
                self._left.wait(PACE_S)
            if self._left.wait(PACE_S):
                return
            self.accepted.append(run_id)

    def _publish(self, run_id, plugin, settings):
        fields = {
            "payload": RedisWorld.payload(run_id, plugin, settings),
            "published_at": int(time.time()),
            "schema_version": "v1",
        }
        try:
            url = self._primary().url
            with client_of(url, password=self._password, socket_timeout=2) as client:
                client.xadd(self._stream, fields)
                has_replicas = client.wait(self._replicas, 1000) >= self._replicas
                return has_replicas and self._is_written(client)
        except (redis.RedisError, OSError, AttributeError):
            # AttributeError: nobody knows the primary at the moment.
            return False

    def _is_written(self, client):
        """Wait until nothing of the append-only file is left in the server's memory."""
        while client.info("persistence").get("aof_buffer_length", 0):
            if self._left.wait(0.01):
                return False
        return True


def mixed_load(count):
    """Return so many runs of drills that end in every way; one of them is started thrice."""
    kinds = itertools.cycle(
        [
            ("echoes", {"text": "a"}),
            ("sleeps", {"seconds": 0.3}),
            ("raises", {"text": "no"}),
            ("sleeps", {"seconds": 1}),
        ]
    )
    return [("exits", None), *itertools.islice(kinds, count - 1)]


class NamedWorld(RedisWorld):
    """The application's view under other names: requests, by priority, and results."""

    def __init__(self, client, requests, results, resumed="crewpool:resumed"):
        super().__init__(client)
        base = requests.removesuffix(":normal")
        self.streams = (requests, *(f"{base}:{p}" for p in ("critical", "high", "low")), resumed)
        self.results_stream = results

    def results(self, run_id=None):
        found = [
            json.loads(fields["payload"]) | {"entry": fields}
            for _, fields in self.client.xrange(self.results_stream)
        ]
        return [r for r in found if run_id in (None, r["plugin_run_id"])]

    def pending(self):
        return [
            (stream, row["message_id"], row["consumer"])
            for stream in self.streams
            if self.has_group(stream)
            for row in self.client.xpending_range(stream, GROUP, "-", "+", 10_000)
        ]

    def assert_nothing_pending(self):
        assert self.pending() == []
        for stream in filter(self.has_group, self.streams):
            (group,) = self.client.xinfo_groups(stream)
            assert self.client.xrange(stream, min=f"({group['last-delivered-id']}") == [], stream
