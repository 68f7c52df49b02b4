"""A program that records five runs, relays them, and kills itself behind the step it is told."""

import os
import signal
import sys

from supervisor.runs.outbox import NewRun
from supervisor.runs.publisher import Publisher
from supervisor.runs.records import open_store
from supervisor.runs.relay import Relay
from supervisor.runs.requests import PluginRequest
from supervisor.settings import Settings


def dying(call):
    """Do what was asked for, then die without a word."""

    def called(*arguments, **more):
        call(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    return called


settings = Settings()
store, publisher = open_store(settings), Publisher(settings=settings)
for user in range(5):
    store.add(NewRun.of(PluginRequest("hello", user), None, 10_000))
steps = {
    "lease": (store.leases, "take"),
    "place": (publisher, "place"),
    "mark": (store, "mark_published"),
    "release": (store.leases, "release"),
}
owner, name = steps[sys.argv[1]]
setattr(owner, name, dying(getattr(owner, name)))
Relay(store, publisher, grace_s=0).relay_once()
