"""A program that takes results into the records, and kills itself at the step it is told."""

import asyncio
import os
import signal
import sys

from supervisor.runs import consumer
from supervisor.runs.records import open_store
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from supervisor.streams.results import ResultStream

# Long before another one could take over what it has, in an application.
consumer.CLAIM_IDLE_S, consumer.CLAIM_EVERY_S = 0.3, 0.1


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def dying_before(owner, name):
    setattr(owner, name, die)


def dying_after(owner, name):
    call = getattr(owner, name)

    def called(*arguments, **more):
        call(*arguments, **more)
        die()

    async def called_async(*arguments, **more):
        await call(*arguments, **more)
        die()

    setattr(owner, name, called_async if asyncio.iscoroutinefunction(call) else called)


STEPS = {
    "before the handler": (dying_before, RunStore, "apply_results"),
    "inside the transaction": (dying_after, RunStore, "_apply"),
    "after the commit": (dying_after, RunStore, "apply_results"),
    "before one is buried": (dying_before, ResultStream, "bury"),
    "after one was buried": (dying_after, ResultStream, "bury"),
    "before the XACK": (dying_before, ResultStream, "acknowledge"),
    "after the XACK": (dying_after, ResultStream, "acknowledge"),
}


async def main():
    stop, settings = asyncio.Event(), Settings()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with open_store(settings) as store:
        await consumer.consume(None, store, stop, settings)


if __name__ == "__main__":
    if sys.argv[1:]:
        deadly, owner, name = STEPS[sys.argv[1]]
        deadly(owner, name)
    asyncio.run(main())
