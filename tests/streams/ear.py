"""The control channel of one supervisor, with the test in the place of its loop."""

import asyncio
import time

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams.control import Control
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from tests.streams.conftest import KEYS, LIMITS
from tests.support.waiting import eventually

HOST = "vm-1-4f2a"
OWN = f"crewpool:messages:{HOST}"
ALL = "crewpool:messages:all"
REPLIES = "crewpool:messages:reply:0123456789abcdef"


class Ear:
    """An async context manager: it listens and answers inside."""

    def __init__(self, url, host=HOST, keys=KEYS):
        log = Log()
        self.link = Link(time.monotonic, lambda: None, log)
        self.queue = Queue(url, keys, LIMITS)
        self.control = Control(self.queue, url, self.link, host, lambda: None, log)
        self.orders = []
        self._tasks = []

    async def __aenter__(self):
        self.link.note_up()
        works = (self.control.listen_for_ever(), self.control.answer_for_ever())
        self._tasks = [asyncio.ensure_future(work) for work in works]
        await eventually(lambda: len(self.control._after) == 2)
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.control.close()
        await self.queue.close()

    def heard(self):
        self.orders += self.control.take()
        return self.orders

    def kinds(self):
        return [order.kind for order in self.heard()]

    def go_down(self):
        self.link.note_down(RedisAway("there", "drill"))
