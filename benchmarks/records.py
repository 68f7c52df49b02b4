"""What run records cost: dispatches a second, results a second, and a result's way to its record.

    python benchmarks/records.py [--runs 10000] [--rounds 300] [--counts 10 50 100]

On SQLite and on a PostgreSQL of its own, both with an fsync for each commit, and a real server.
A dispatch is a record, a publication and a second write; `probe` is what the disk alone takes,
without which no rate means much. The latency is from the entry's time in Redis to the
moment in which a poll finds the record ended, so it holds up to one poll. CPU is that of this
process, consumer and polls together.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import psycopg
from redis import Redis
from stage import Lost, report, wait_until
from tables import header, row

from supervisor.embedded.server import EmbeddedServer
from supervisor.runs.answers import Arrival
from supervisor.runs.consumer import start_result_consumer
from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.runs.outbox import NewRun
from supervisor.runs.requests import PluginRequest
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from supervisor.streams import results

RESULTS = "plugin:results"
THREADS = 8
OPTIONS = Options(unique_for_s=None)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL with its own defaults; return the URL of an empty database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = str(found[-1]) if found else shutil.which("postgres")
    if program is None:
        raise Lost("there is no PostgreSQL here (Debian: apt-get install postgresql)")
    programs, home = Path(program).resolve().parent, folder / "pg"
    home.mkdir()
    becomes: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to be run by root
        folder.chmod(0o711)
        shutil.chown(home, "postgres")
        becomes = {"user": "postgres", "extra_groups": []}
    initdb = [str(programs / "initdb"), "-D", "data", "-U", "crewpool", "-A", "trust", "-E", "UTF8"]
    subprocess.run(initdb, cwd=home, check=True, stdout=subprocess.DEVNULL, **becomes)
    words = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={home}")
    with (folder / "pg.log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", "data", *words], cwd=home, stderr=log, **becomes
        )
    url = f"postgresql://crewpool@/postgres?host={home}"
    try:
        wait_until(lambda: _answers(url), 30, "PostgreSQL answers")
        yield url
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def probe(folder: Path, rounds: int) -> str:
    """Return the row of what one small write and its fsync take here."""
    times = []
    with (folder / "probe").open("wb") as file:
        for _ in range(rounds):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    return row("fsync of 4 KiB, ms", times, 2)


class Bench:
    """One database, emptied Redis, and what is asked of them."""

    def __init__(self, name: str, url: str, redis_url: str) -> None:
        self.name = name
        self.settings = Settings.model_validate({"records_url": url, "redis_url": redis_url})
        self.client: Any = Redis.from_url(redis_url)
        self.store = RunStore(url)
        self.store.upgrade()

    def __enter__(self) -> Self:
        self.client.flushall()
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()
        self.client.close()

    # ---- runs that are asked for

    def dispatches(self, rounds: int) -> Iterator[str]:
        """Return the rows of dispatches, by one thread and by several."""
        with Dispatcher.of(self.settings) as dispatcher:

            def one(number: int) -> float:
                request = PluginRequest("hello", 42, {"number": number, "note": "x" * 200})
                began = time.perf_counter()
                if dispatcher.dispatch(request, OPTIONS).what != "published":
                    raise Lost("a run was not published")
                return 1000 * (time.perf_counter() - began)

            one(0)
            for threads in (1, THREADS):
                with ThreadPoolExecutor(threads) as pool:
                    began = time.perf_counter()
                    times = list(pool.map(one, range(rounds)))
                    rate = rounds / (time.perf_counter() - began)
                name = f"{self.name}: a dispatch, {threads} at a time, ms"
                yield f"{row(name, times, 2)}  {rate:>8.0f}/s"
        if self.client.xlen("plugin:requests") != 2 * rounds + 1:
            raise Lost("not every dispatch is one entry")

    # ---- results that are taken in

    def record(self, count: int) -> list[str]:
        """Record so many runs as if they had been published; return their ids."""
        requests = [PluginRequest("hello", 42, {"number": n}) for n in range(count)]
        with self.store.database.writing() as session:
            for request in requests:
                self.store.added(session, NewRun.of(request, None, 1_048_576))
        ids = [request.plugin_run_id for request in requests]
        for first in range(0, count, 500):
            self.store.mark_published(ids[first : first + 500])
        return ids

    def publish(self, ids: list[str]) -> list[int]:
        """Write a result for each run; return the times of their entries in ms."""
        pipeline = self.client.pipeline(transaction=False)
        for run_id in ids:
            pipeline.xadd(RESULTS, {"payload": json.dumps(result_of(run_id))})
        return [int(entry.split(b"-")[0]) for entry in pipeline.execute()]

    def throughput(self, count: int, page: int) -> str:
        """Return the line of a backlog that is taken in, so many in a transaction."""
        ids = self.record(count)
        before = self.store.counts().get("completed", 0)
        for first in range(0, count, 1000):
            self.publish(ids[first : first + 1000])
        results.COUNT = page
        times: list[float] = []
        taken = 0
        apply = self.store.apply_results

        def timed(arrivals: list[Arrival]) -> list[str]:
            nonlocal taken
            began = time.perf_counter()
            told = apply(arrivals)
            times.append(1000 * (time.perf_counter() - began))
            taken += len(told)
            return told

        self.store.apply_results = timed  # type: ignore[method-assign, assignment]  # measured
        began, used_s = time.perf_counter(), time.process_time()
        stop = start_result_consumer(None, self.store, self.settings)
        try:
            wait_until(lambda: taken >= count, 300, "all results are taken in")
            took_s, used_s = time.perf_counter() - began, time.process_time() - used_s
        finally:
            stop()
            self.store.apply_results = apply  # type: ignore[method-assign]  # as it was
            results.COUNT = 10
        if (ended := self.store.counts()["completed"] - before) != count:
            raise Lost(f"{ended} of {count} records have ended")
        name = f"{self.name}: a transaction of {page}, ms"
        used = f"CPU {1000 * used_s / count:.2f} ms each"
        return f"{row(name, times, 2)}  {count / took_s:>8.0f} results/s, {used}"

    def latencies(self, rounds: int) -> str:
        """Return the row of results that come one by one, from entry to record."""
        ids, times = self.record(rounds), []
        stop = start_result_consumer(None, self.store, self.settings)
        try:
            for run_id in ids:
                (at,) = self.publish([run_id])
                wait_until(lambda: self._has_ended(run_id), 30, "its record has ended")  # noqa: B023
                times.append(1000 * time.time() - at)
        finally:
            stop()
        return row(f"{self.name}: result -> record has ended, ms", times, 1)

    def _has_ended(self, run_id: str) -> bool:
        run = self.store.get(run_id)
        return run is not None and run.is_final


def result_of(run_id: str) -> dict[str, Any]:
    """Return a result of about a kilobyte."""
    receipt = {"tokens": 812, "cpu_s": 1.25, "calls": {"llm": 3}}
    meta = {"attempt": 1, "duration_s": 2.5, "receipt": receipt}
    output = json.dumps({"summary": "x" * 200, "raw": "y" * 500})
    return {
        "plugin_run_id": run_id,
        "status": "completed",
        "output": output,
        "error": "",
        "meta": meta,
    }


def measure(asked: argparse.Namespace) -> Iterator[str]:
    """Return the table, line by line."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="crewpool-bench-")))
        redis_url = held.enter_context(EmbeddedServer()).url
        urls = {
            "SQLite": f"sqlite:///{folder}/runs.db",
            "PostgreSQL": held.enter_context(postgresql(folder)),
        }
        yield header("run records")
        yield probe(folder, asked.rounds)
        for name, url in urls.items():
            with Bench(name, url, redis_url) as bench:
                yield from bench.dispatches(asked.rounds)
                yield bench.latencies(asked.rounds)
                for page in asked.counts:
                    yield bench.throughput(asked.runs, page)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 50, 100])
    asked = parser.parse_args()
    return report(lambda: measure(asked))


if __name__ == "__main__":
    sys.exit(main())
