"""A world before and a world after: what an application writes to Redis and finds there.

The seed and the check side of a test. It never uses the code under test: names, fields and
commands are written out once more, as the Go application on the other end has them.
"""

import json
import time
from collections import Counter
from uuid import uuid4

REQUESTS = "plugin:requests"
RESULTS = "plugin:results"
DEAD_LETTERS = "plugin:requests:dlq"
GROUP = "crewai-workers"
RESUMED = "crewpool:resumed"
STREAMS = (f"{REQUESTS}:critical", f"{REQUESTS}:high", REQUESTS, f"{REQUESTS}:low")
ALL_STREAMS = (*STREAMS, RESUMED)


class RedisWorld:
    """The application's view of one server. `prefix` is what stands before our own keys."""

    def __init__(self, client):
        self.client = client

    # -- before

    def make_groups(self):
        """Create what a supervisor creates at its start."""
        for stream in ALL_STREAMS:
            self.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        self.client.xgroup_create(RESULTS, "go-workers", id="0", mkstream=True)

    def publish(self, run_id=None, plugin="echoes", settings=None, *, raw=None, **more):
        """Publish a request as the application does; return its run id.

        `raw` is the payload when it shall not be well-formed. Of `more`, `stream` names the
        stream; all others become fields of the entry beside the usual three.
        """
        run_id = run_id or f"r-{uuid4()}"
        stream = more.pop("stream", REQUESTS)
        payload = self.payload(run_id, plugin, settings) if raw is None else raw
        fields = {"payload": payload, "published_at": int(time.time()), "schema_version": "v1"}
        fields |= more
        self.client.xadd(stream, {k: v for k, v in fields.items() if v is not None})
        return run_id

    def read(self, consumer, stream=REQUESTS, count=1, group=GROUP):
        """Read entries as another program of the group, which tells nobody; return their ids."""
        found = self.client.xreadgroup(group, consumer, {stream: ">"}, count=count)
        # A dictionary with RESP 3, a list of pairs with RESP 2.
        pages = found.values() if isinstance(found, dict) else [page for _, page in found]
        entries = [entry for page in pages for entry in page]
        return [entry[0] if isinstance(entry, tuple) else entry[0][0] for entry in entries]

    def age(self, stream, consumer, *ids, idle_ms=60_000):
        """Make leases look as if their owner had not renewed them for so long."""
        self.client.xclaim(stream, GROUP, consumer, 0, ids, idle=idle_ms, justid=True)

    def beat(self, host):
        """Write a heartbeat, as a supervisor does that lives."""
        self.client.set(f"crewpool:host:{host}", "{}", ex=60)
        self.client.zadd("crewpool:hosts", {host: time.time()})

    @staticmethod
    def payload(run_id, plugin="echoes", settings=None, user_id=42):
        """Return the JSON text of a request."""
        return json.dumps(
            {
                "plugin_run_id": run_id,
                "plugin_name": plugin,
                "user_id": user_id,
                "settings": settings,
            }
        )

    # -- after

    def results(self, run_id=None):
        """Return the results, in order, as the reader on the other end decodes them."""
        found = [
            json.loads(fields["payload"]) | {"entry": fields}
            for _, fields in self.client.xrange(RESULTS)
        ]
        return [r for r in found if run_id is None or r["plugin_run_id"] == run_id]

    def result(self, run_id):
        """Return the only result of a run, None while there is none."""
        found = self.results(run_id)
        assert len(found) <= 1, found
        return found[0] if found else None

    def output(self, run_id):
        """Return the output of a run that completed, decoded."""
        result = self.result(run_id)
        assert result, f"{run_id} has no result"
        assert result["status"] == "completed", result
        return json.loads(result["output"])

    def dead_letters(self):
        """Return the fields of all dead letters, in order."""
        return [fields for _, fields in self.client.xrange(DEAD_LETTERS)]

    def pending(self):
        """Return what was taken and not ended: (stream, entry id, consumer)."""
        return [
            (stream, row["message_id"], row["consumer"])
            for stream in ALL_STREAMS
            if self.has_group(stream)
            for row in self.client.xpending_range(stream, GROUP, "-", "+", 10_000)
        ]

    def has_group(self, stream):
        """Whether the stream and its group are there."""
        if not self.client.exists(stream):
            return False
        return any(group["name"] == GROUP for group in self.client.xinfo_groups(stream))

    def entries(self, stream=REQUESTS):
        """Return the entries of a stream: (id, fields)."""
        return self.client.xrange(stream)

    def consumers(self, stream=REQUESTS):
        """Return the consumers of a stream by name, with what is pending under each."""
        if not self.has_group(stream):
            return {}
        return {c["name"]: c["pending"] for c in self.client.xinfo_consumers(stream, GROUP)}

    def record(self, run_id):
        """Return the run's record, {} when there is none."""
        return self.client.hgetall(f"crewpool:run:{run_id}")

    def holding(self):
        """Return which runs are in hand: run id, or ?stream id, and where it is pending."""
        return {k: json.loads(v) for k, v in self.client.hgetall("crewpool:holding").items()}

    def running(self):
        """Return how many runs of each plugin count as running."""
        return {k: int(v) for k, v in self.client.hgetall("crewpool:running").items()}

    def parked(self):
        """Return how many runs of each plugin are parked, after a look at each of them."""
        told = {k: int(v) for k, v in self.client.hgetall("crewpool:parked:plugins").items()}
        members = self.client.zrange("crewpool:parked", 0, -1)
        assert Counter(member.split("\0")[0] for member in members) == Counter(told)
        return told

    def delayed(self):
        """Return the runs that wait for a time, and when it comes (unix ms)."""
        return dict(self.client.zrange("crewpool:delayed", 0, -1, withscores=True))

    def let_delayed_begin(self, *run_ids):
        """Let the time of these runs come, or of all."""
        for run_id in run_ids or self.delayed():
            self.client.zadd("crewpool:delayed", {run_id: 1}, xx=True)

    def plugin_state(self, plugin):
        """Return what is known against a plugin, {} when nothing is."""
        return json.loads(self.client.hget("crewpool:plugins", plugin) or "{}")

    def set_plugin_state(self, plugin, **facts):
        """Change what is known against a plugin, for example to let a cool-down end."""
        state = self.plugin_state(plugin) | facts
        self.client.hset("crewpool:plugins", plugin, json.dumps(state))

    def everything(self):
        """Return all keys and values as one text, to look for what must not be there."""
        return "\n".join(f"{key} {self._dump(key)}" for key in self.client.scan_iter(count=1000))

    def everything_but(self, *streams):
        """Return all keys and values without those streams, which hold what we published."""
        keys = (key for key in self.client.scan_iter(count=1000) if key not in streams)
        return "\n".join(f"{key} {self._dump(key)}" for key in keys)

    def _dump(self, key):
        readers = {
            "string": self.client.get,
            "hash": self.client.hgetall,
            "list": lambda k: self.client.lrange(k, 0, -1),
            "set": self.client.smembers,
            "zset": lambda k: self.client.zrange(k, 0, -1),
            "stream": self.client.xrange,
        }
        kind = self.client.type(key)
        return readers[kind](key) if kind in readers else ""

    # -- what must hold

    def have_results(self, run_ids):
        """Whether each of these runs has a result; for wait_until."""
        return set(run_ids) <= {result["plugin_run_id"] for result in self.results()}

    def has_results(self, count):
        """Whether so many results stand on the stream; cheap, for thousands of runs."""
        return self.client.xlen(RESULTS) >= count

    def all_consumers(self):
        """Return the names of the consumers of all streams of runs."""
        return {name for stream in ALL_STREAMS for name in self.consumers(stream)}

    def assert_exactly_one_result(self, run_ids):
        """Each of these runs has one result that keeps the wire contract, and no other has."""
        results = self.results()
        assert Counter(r["plugin_run_id"] for r in results) == Counter(run_ids)
        for result in results:
            assert_keeps_the_contract(result)

    def assert_nothing_pending(self):
        """All that was taken is ended, and nothing waits to be taken."""
        assert self.pending() == []
        for stream in ALL_STREAMS:
            for group in self.client.xinfo_groups(stream):
                if group["name"] == GROUP:
                    waiting = self.client.xrange(stream, min=f"({group['last-delivered-id']}")
                    assert waiting == [], stream


def assert_keeps_the_contract(result):
    """A result is what the Go application's struct takes."""
    entry = result["entry"]
    assert set(entry) == {"payload", "published_at", "schema_version"}
    assert entry["published_at"].isdigit()
    assert entry["schema_version"] == "v1"
    assert set(result) - {"meta", "entry"} == {"plugin_run_id", "status", "output", "error"}
    assert result["status"] in ("completed", "failed")
    assert isinstance(result["output"], str)
    assert isinstance(result["error"], str)
    if result["status"] == "completed":
        assert result["error"] == ""
        json.loads(result["output"])
    else:
        assert result["output"] == ""
        assert result["error"]
