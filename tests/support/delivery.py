"""A whole pool in one place, one step at a time: slots that take, end, fall silent and sweep.

For the state machine of tests/properties/test_delivery.py. The scripts, the broker's endings
and the keeper's sweeps are the real ones, on a real server; only their clocks and tasks are
not there, so that each interleaving of steps can be had and shrunk.
"""

import asyncio
import json
from dataclasses import replace

from supervisor import verdicts
from supervisor.streams import sweeps
from supervisor.streams.endings import Bury, DeadLetter, Finish, HandBack, cancelled
from supervisor.streams.keeper import Rhythm
from supervisor.streams.orders import cancel
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease, More, Trimmed
from supervisor.streams.wire import Entry, Rejected, Request, Result, parse, request_payload
from tests.streams.conftest import LIMITS
from tests.streams.host import Host
from tests.support.redis_world import ALL_STREAMS, GROUP, RedisWorld

LEASE_S = 30.0
START = ["0-0"] * len(ALL_STREAMS)
LETTER = DeadLetter("{}", {"reason": "drill", "class": "drill"})


class Delivery:
    """The pool, and what the application sees of it. Every method returns when it is done."""

    def __init__(self, server):
        server.empty()
        self.world = RedisWorld(server.client)
        self.lost = 0
        self._runner = asyncio.Runner()
        self._host = Host(server.url, "host", Rhythm(LEASE_S, 5, 2))
        self.queue = self._host.broker._queue
        # What may be trimmed is trimmed at once, and a plugin that crashes twice is held.
        limits = replace(LIMITS, retention_s=0, quarantine_crashes=2, quarantine_cooldown_s=0.001)
        self.queue.limits = limits
        self._do(self.queue.ensure_groups())

    def _do(self, coroutine):
        return self._runner.run(coroutine)

    def close(self):
        self._do(self.queue.close())
        self._runner.close()

    # -- the application

    def publish(self, run_id, plugin, priority="normal", delay_s=0.0):
        """Publish as `crewpool submit` does; return what became of it."""
        request = Request(run_id, plugin, 1, {})
        body = Publication(request, request_payload(request), priority=priority, delay_s=delay_s)
        return self._do(publish(self.queue, body)).what

    def cancel(self, run_id):
        return self._do(cancel(self.queue, run_id)).was

    def set_plugin(self, plugin, action):
        """Pause or resume a plugin by hand."""
        self._do(self.queue.call("plugin_state", (), [plugin, action, "somebody", "drill"]))

    # -- slots

    @property
    def leases(self):
        """What each slot believes to hold."""
        return self._host.broker.leases

    def take(self, slot, limits="{}"):
        """Take for a slot; return the entry, or None."""
        consumer = f"host.s{slot}"
        answer = self._do(self.queue.take(consumer, limits))
        self._count(answer)
        while isinstance(answer.got, More | Trimmed):
            if isinstance(answer.got, Trimmed):
                self._do(self._host.broker._answer_trimmed(answer.got, consumer))
            answer = self._do(self.queue.take(consumer, limits))
            self._count(answer)
        self.leases.pop(slot, None)
        if not isinstance(answer.got, Entry):
            return None
        self.leases[slot] = Lease.of(answer.got, consumer)
        return answer.got

    def _count(self, answer):
        self.lost += sum(int(p.detail) for p in answer.passed if p.kind == "lost")

    def end(self, lease, entry, how, delay_s=0.0):
        """End an entry as the broker does: completed, failed, cancelled, or tried again."""
        request = parse(entry, LIMITS.max_payload_bytes)
        if isinstance(request, Rejected):
            context = verdicts.Context(lease.consumer, lambda _: None)
            return self._end(lease, verdicts.of_rejected(entry, request, context))
        run_id = request.run_id
        endings = {
            "completed": lambda: Finish(Result(run_id, "completed", "{}")),
            "cancelled": lambda: cancelled(run_id),
            "failed": lambda: Bury(LETTER, Result(run_id, "failed", error="x"), "exception"),
            "crashed": lambda: Bury(LETTER, Result(run_id, "failed", error="x"), "crash"),
        }
        again = HandBack(run_id, entry.attempt + 1, "drill", how, delay_s)
        return self._end(lease, endings[how]() if how in endings else again)

    def _end(self, lease, ending):
        return self._do(self._host.broker.end(lease, ending))

    def fall_silent(self, slot):
        """Let a slot's lease lapse: its host is gone, or believes to be here."""
        lease = self.leases.pop(slot)
        if self.owner_of(lease) == lease.consumer:
            self.world.age(lease.stream, lease.consumer, lease.id)

    # -- keeping

    def renew(self):
        self._do(self._host.keeper._renew())

    def sweep(self, *, dies_halfway=False):
        """Reclaim what lapsed, and end it, unless the sweeper dies between the two."""
        for stream, entry_id, consumer in self.world.pending():
            if consumer == "host.sweep":
                self.world.age(stream, consumer, entry_id)
        cursors = START
        while any(cursors):
            page = self._do(sweeps.reclaim(self.queue, "host.sweep", LEASE_S, cursors))
            if not dies_halfway:
                self._do(self._host.keeper._end_all(page))
            cursors = page.cursors

    def ensure_groups(self):
        self._do(self.queue.ensure_groups())

    def tidy(self):
        self._do(self._host.keeper._tidy())

    # -- what there is

    def owner_of(self, lease):
        found = self.world.client.xpending_range(lease.stream, GROUP, lease.id, lease.id, 1)
        return found[0]["consumer"] if found else None

    def run_of(self, fields):
        """Return the run id of a payload that our tests wrote, "" where there is none."""
        try:
            body = json.loads(fields["payload"])
            return body["plugin_run_id"] if isinstance(body["plugin_run_id"], str) else ""
        except (KeyError, TypeError, ValueError):
            return ""

    def undelivered(self):
        """Return the entries that wait: (stream, id) → run id."""
        found = {}
        for stream in ALL_STREAMS:
            groups = self.world.client.xinfo_groups(stream)
            after = [g["last-delivered-id"] for g in groups if g["name"] == GROUP]
            for entry_id, fields in self.world.client.xrange(stream, f"({(after or ['0-0'])[0]}"):
                found[stream, entry_id] = self.run_of(fields)
        return found

    def pending(self):
        """Return the entries in hand: (stream, id) → run id, "" when it was cut off."""
        found = {}
        for stream, entry_id, _ in self.world.pending():
            entries = self.world.client.xrange(stream, entry_id, entry_id)
            found[stream, entry_id] = self.run_of(entries[0][1]) if entries else ""
        return found

    def copies(self):
        """Return every run that is still to be answered for, wherever it is noted."""
        client = self.world.client
        noted = {member.split(" ", 2)[2] for member in client.zrange("crewpool:queued", 0, -1)}
        waiting = set(client.hkeys("crewpool:waiting"))
        runs = {*self.undelivered().values(), *self.pending().values(), *self.world.holding()}
        return runs | noted | waiting

    def results(self):
        """Return the run of each result."""
        return [result["plugin_run_id"] for result in self.world.results()]
