"""Broker, keeper and records of one supervisor, with the test in the place of its loop."""

import time

from supervisor import verdicts
from supervisor.log import Log
from supervisor.streams.broker import Broker
from supervisor.streams.facts import Taken
from supervisor.streams.keeper import Keeper, Rhythm, Sweeper
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from supervisor.streams.records import Records
from supervisor.streams.wire import parse
from tests.streams.conftest import KEYS, LIMITS, done
from tests.support.waiting import eventually
from worker.policies import Retry

RHYTHM = Rhythm(lease_s=1.0, renew_every_s=0.2, sweep_every_s=0.1)


def judge(entry):
    """Start a lapsed run again at once, up to three times."""
    context = verdicts.Context(entry.owner, lambda _: Retry(attempts=3, backoff_s=0))
    return verdicts.of_lapsed(entry, parse(entry, LIMITS.max_payload_bytes), context)


class Host:
    """An async context manager: connected inside, closed after."""

    def __init__(self, url, name="host", rhythm=RHYTHM):
        log = Log()
        self.link = Link(time.monotonic, lambda: None, log)
        queue = Queue(url, KEYS, LIMITS)
        self.records = Records(queue, self.link, 600)
        self.broker = Broker(
            queue, self.link, self.records, lambda slot: f"{name}.s{slot}", lambda: None, log
        )
        sweeper = Sweeper(name, f"{name}.sweep", judge)
        self.keeper = Keeper(queue, self.broker, rhythm, sweeper, log)
        self.facts = []

    async def __aenter__(self):
        self.broker.start(self.keeper.keep_for_ever(), self.records.write_for_ever())
        await eventually(lambda: self.link.is_up)
        return self

    async def __aexit__(self, *_):
        await self.broker.close(1)

    def seen(self, kind):
        """The facts of a kind so far."""
        self.facts += self.broker.facts()
        assert self.broker.failure() is None
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def take(self, slot=0):
        """Take one run for a slot."""
        before = len(self.seen(Taken))
        self.broker.want(slot)
        return (await eventually(lambda: self.seen(Taken)[before:]))[0]

    def finish(self, slot, run_id):
        self.broker.settle(slot, done(run_id))
