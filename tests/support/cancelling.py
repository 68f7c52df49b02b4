"""A run on its way from the outbox to Redis, with all who may have a hand in it."""

import asyncio

from supervisor.runs.answers import Arrival
from supervisor.runs.cancelling import cancel
from supervisor.settings import Settings
from supervisor.streams.deployment import queue_of
from supervisor.streams.wire import Result
from tests.support.servers import HOST

NOWHERE = f"redis://{HOST}:1/0"


class Scene:
    """One outbox and one Redis, with all who may have a hand in a run."""

    def __init__(self, url, world, store):
        self.url, self.world, self.store = url, world, store
        self.publisher = None
        self.relay = None

    def cancel(self, run_id, url=None):
        """Cancel a run as gateway and command do; return what it was."""
        return on_queue(lambda queue: cancel(queue, self.store, run_id), url or self.url).was

    def cancel_without_redis(self, run_id):
        """Cancel a run while Redis is away."""
        return self.cancel(run_id, url=NOWHERE)

    def take(self):
        """Take the next run as a supervisor does, if there is one."""

        async def taking(queue):
            await queue.ensure_groups()
            await queue.take("host.s0")

        on_queue(taking, self.url)

    def assert_cancelled(self, run_id):
        """It has ended, once and for all; it does not run, and nothing is left to be done."""
        self.take()
        assert not self.world.pending()
        run = self.store.get(run_id)
        assert (run.status, run.error_message, run.payload) == ("failed", "cancelled", None)
        assert self.store.counts()["outbox"] == 0
        (result,) = self.world.results(run_id)
        self.store.apply_results([Arrival(Result(run_id, result["status"], "", result["error"]))])
        assert self.store.get(run_id).error_message == "cancelled"


def on_queue(ask, url):
    async def asking():
        queue = queue_of(Settings(redis_url=url))
        try:
            return await ask(queue)
        finally:
            await queue.close()

    return asyncio.run(asking())
