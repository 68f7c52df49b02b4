"""Facts about a run for the sentences about it: a run r-1 at a time NOW."""

import json

from supervisor.explaining.facts import Facts
from supervisor.streams.inspect import HostSeen
from supervisor.streams.located import Held, Located, PluginFacts, Queued, Waiting
from supervisor.streams.orders import PluginState
from supervisor.times import clock
from worker.policies import Limits, Retry

NOW = 1_800_000_000.0
RETRIES = {"crash": Retry(attempts=3), "lost": Retry(attempts=3), "exception": Retry(attempts=1)}
RUNNING = {"state": "running", "worker": "vm-1-ab12.s3", "entry_id": "5-0", "attempt": "2"}
RUNNING |= {"started_at": f"{NOW - 41}", "timeout_s": "300"}
PARKED = Waiting(2, NOW - 20, None, 0)
HELD = Held("plugin:requests", "5-0", "vm-1-ab12.s3", NOW - 42, 1.0)


def ago(length_s):
    """Tell the moment that is so long ago."""
    return clock(NOW - length_s)


def host(name="vm-1-ab12", states=("busy", "idle"), phase="running", beat_s=2.0, *, dead=False):
    workers = [{"slot": n, "state": state} for n, state in enumerate(states)]
    snapshot = None if dead else {"phase": phase, "workers": workers}
    return HostSeen(name, NOW - beat_s, snapshot)


ALIVE = host()
FREE = Limits()


def facts(hosts=(ALIVE,), limits=FREE, **located):
    """Return facts; what is not of Facts is of Located."""
    letter = {k: located.pop(k) for k in ("letter_id", "has_entry") if k in located}
    run = Located("r-1", NOW, **located)
    return Facts(run, hosts, limits, RETRIES, **letter)


def queued(before=0, *, is_more=False, since_s=303):
    entry_id = f"{(NOW - since_s) * 1000:.0f}-0"
    return Queued("plugin:requests:high", entry_id, 1, before, is_more)


def plugin(running=0, starts=(), holders=(), **state):
    """Return what stands in the way of echoes."""
    return PluginFacts("echoes", PluginState(**state), running, starts, holders)


def attempt(cause="crash", error="crash: SIGKILL", ended_s=30):
    body = {"cause": cause, "error": error, "host": "vm-9", "slot": 0, "ended_at": NOW - ended_s}
    return json.dumps(body)
