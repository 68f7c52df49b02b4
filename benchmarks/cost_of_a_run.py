"""What a run costs in Redis: round trips of a supervisor, and time in the server.

    python benchmarks/cost_of_a_run.py [--rounds 2000] [--backlog 1000000]

First the time of take and finish, on a queue that is empty but for what is measured, then
with a long backlog, with many entries pending under other consumers, and with plugins that
are limited and have parked runs. Then a real supervisor with four workers, whose commands
are counted by the server itself (MONITOR shows what a script does inside apart).
"""

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from redis import ConnectionError, Redis  # noqa: A004  # redis's own name
from stage import Stage, report
from tables import header, row

from supervisor.embedded.server import EmbeddedServer
from supervisor.streams.endings import Finish
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Lease, Limits, Queue
from supervisor.streams.wire import Entry, Result

KEYS = Keys(
    "plugin:requests", "plugin:results", "plugin:requests:dlq", "crewai-workers", "go-workers"
)
LIMITS = Limits(1_048_576, 86_400, 604_800)


def payload(run_id: str, plugin: str = "quick") -> str:
    """Return a request of about 300 bytes."""
    settings = {"topics": ["science"], "note": "x" * 200}
    body = {"plugin_run_id": run_id, "plugin_name": plugin, "user_id": 1, "settings": settings}
    return json.dumps(body)


def fill(client: Redis, count: int, plugin: str = "quick") -> None:
    """Publish so many runs, a thousand at a time."""
    for start in range(0, count, 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(start + 1000, count)):
            pipeline.xadd(KEYS.requests, {"payload": payload(f"b-{plugin}-{number}", plugin)})
        pipeline.execute()


async def take_and_finish(queue: Queue, rounds: int) -> list[float]:
    """Take and finish one run after the other; return the time of each pair in ms."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        got = (await queue.take("bench-0000.s0")).got
        if not isinstance(got, Entry):
            raise TypeError(got)
        run_id = json.loads(got.fields["payload"])["plugin_run_id"]
        ending = Finish(Result(run_id, "completed", "{}"))
        await queue.finish(Lease.of(got, "bench-0000.s0"), ending, {"state": "completed"})
        times.append((time.perf_counter() - began) * 1000)
    return times


async def scripts(url: str, client: Redis, rounds: int, backlog: int) -> list[str]:
    """Return the rows of the first table."""
    rows = []
    cases: tuple[tuple[str, Callable[[], None]], ...] = (
        ("backlog 0", lambda: None),
        (f"backlog {backlog:,}", lambda: fill(client, backlog)),
        ("1,000 pending under 100 others", lambda: pend(client, 1000)),
    )
    for name, prepare in cases:
        client.flushall()
        queue = Queue(url, KEYS, LIMITS)
        await queue.ensure_groups()
        prepare()
        fill(client, rounds, "measured")
        rows.append(row(f"take + finish, {name}", await take_and_finish(queue, rounds), 3))
        await queue.close()
    return rows


def pend(client: Redis, count: int) -> None:
    """Let other consumers have so many entries pending."""
    fill(client, count)
    for number in range(count):
        consumer = f"other-{number % 100:04x}.s0"
        client.xreadgroup(KEYS.group, consumer, {KEYS.requests: ">"}, count=1)


def commands_of_a_supervisor(runs: int) -> str:
    """Return the row of the second table: commands of a supervisor for so many runs."""
    with Stage() as stage:
        stage.write("quick", "return '{}'")
        stage.start(workers=4)
        seen: dict[str, int] = {}
        watching = threading.Event()
        watch = threading.Thread(
            target=count_commands, args=(stage.url, seen, watching), daemon=True
        )
        watch.start()
        watching.wait()
        stage.publish("quick", runs, topics=["science"], note="x" * 200)
        stage.wait_results()
    told = ", ".join(f"{name} {count / runs:.2f}" for name, count in sorted(seen.items()))
    return f"{runs} runs: {sum(seen.values()) / runs:.2f} round trips a run ({told})"


def count_commands(url: str, seen: dict[str, int], watching: threading.Event) -> None:
    """Count what the supervisor's connections send; ours only add requests and look."""
    with (
        suppress(ConnectionError),  # the server is stopped under us, at the end
        Redis.from_url(url).monitor() as monitor,  # type: ignore[no-untyped-call]  # redis-py
    ):
        watching.set()
        for said in monitor.listen():
            name = said["command"].split()[0].upper()
            if said["client_type"] != "lua" and name not in ("XADD", "XLEN", "XRANGE"):
                # A pipeline of records is one round trip; its EXPIREs and ZADDs ride along.
                if name not in ("EXPIRE", "ZADD", "HSET"):
                    seen[name] = seen.get(name, 0) + 1
                elif name == "HSET":
                    seen["HSET (records, pipelined)"] = seen.get("HSET (records, pipelined)", 0) + 1


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    asked = parser.parse_args()

    def measure() -> list[str]:
        with EmbeddedServer() as server:
            client = Redis.from_url(server.url)
            rows = asyncio.run(scripts(server.url, client, asked.rounds, asked.backlog))
        return [header("ms"), *rows, commands_of_a_supervisor(asked.rounds // 4)]

    return report(measure)


if __name__ == "__main__":
    sys.exit(main())
