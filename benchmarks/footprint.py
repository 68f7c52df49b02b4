"""What a supervisor and its workers cost while nothing happens: memory, and time of a core.

    python benchmarks/footprint.py [--workers 8] [--more 32] [--runs 20] [--idle 64] [--idle-s 60]

Memory is PSS, as the kernel counts it in smaps_rollup: a page that n processes share is a
n-th of a page in each of them, so that the sum over a tree is what the tree costs. First with
all slots idle, then with more slots for the slope, then after real crews (the sample plugins on
the offline model) have run in each worker. Last, the processor time of a supervisor with many
idle workers.
"""

import argparse
import os
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from stage import Lost, Stage, report, wait_until
from tables import header, row

from supervisor.embedded.offline_model import OfflineModel

MB = 1024.0
SAMPLES = Path(__file__).parents[1] / "plugins"
# A supervisor that has just begun is not yet one that rests.
SETTLE_S = 3.0
TICKS = os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Return the proportional set size of one process in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / MB if found else 0.0


def by_kind(stage: Stage) -> dict[str, list[float]]:
    """Return the PSS of every process of the tree in MB, by what it is."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for process in stage.processes():
        title = " ".join(process.cmdline())
        kind = "supervisor" if process.pid == stage.pid else "zygote"
        if re.match(r"crewpool s\d+ ", title):
            kind = "worker"
        found[kind].append(pss_mb(process.pid))
    return found


def rows_of(name: str, seen: dict[str, list[float]]) -> list[str]:
    """Return the rows of one measurement: each kind of process, and the whole tree."""
    rows = [row(f"{name}: {kind}", seen[kind]) for kind in ("supervisor", "zygote", "worker")]
    return [*rows, row(f"{name}: whole tree", [sum(map(sum, seen.values()))])]


def idle_memory(asked: argparse.Namespace, model: OfflineModel) -> Iterator[str]:
    """Return the rows of workers that have done nothing yet, and of each further one.

    The further ones come to the same supervisor: pages of libraries are shared with whatever
    else runs on the machine, so that two supervisors cannot be compared to the MB.
    """
    with Stage() as stage:
        start(stage, asked.workers, model)
        time.sleep(SETTLE_S)
        few = by_kind(stage)
        yield from rows_of(f"{asked.workers} idle", few)
        if asked.more:
            for _ in range(asked.more - asked.workers):
                stage.ask(signal.SIGTTIN)
            wait_until(lambda: stage.workers_known() == asked.more, what="the workers came")
            time.sleep(SETTLE_S)
            many = by_kind(stage)
            slope = (total(many) - total(few)) / (asked.more - asked.workers)
            yield from rows_of(f"{asked.more} idle", many)
            yield row("each further worker", [slope], 2)


def start(stage: Stage, workers: int, model: OfflineModel) -> None:
    """Start a supervisor with crewai and the sample plugins loaded."""
    # What the machine has for a proxy must not stand between a crew and its model.
    variables = {k: v for k, v in model.environment({}).items() if not k.startswith("CREWPOOL_")}
    offline = {"offline_model_url": model.url}
    stage.start(workers=workers, preload="crewai", plugin_dir=SAMPLES, **variables, **offline)


def memory_after_runs(workers: int, runs: int, model: OfflineModel) -> Iterator[str]:
    """Return the rows after so many runs of a real crew in each worker."""
    with Stage() as stage:
        start(stage, workers, model)
        time.sleep(SETTLE_S)
        before = total(by_kind(stage))
        for plugin, settings in (("hello", {"name": "bench"}), ("daily-news-digest", {})):
            stage.publish(plugin, workers * runs, **settings)
            failed = [r for r in stage.wait_results(600).values() if r["status"] != "completed"]
            if failed:
                raise Lost(f"{len(failed)} runs failed: {failed[0]['error']}")
            time.sleep(SETTLE_S)
            seen = by_kind(stage)
            yield from rows_of(f"+ {runs} runs each of {plugin}", seen)
            yield row("more than idle, for each worker", [(total(seen) - before) / workers])


def idle_cpu(workers: int, seconds: float) -> str:
    """Return the row of a supervisor that has nothing to do: percent of one core."""
    with Stage() as stage:
        stage.write("nothing", "return '{}'")
        stage.start(workers=workers)
        time.sleep(min(SETTLE_S, seconds))
        shares = []
        for _ in range(4):
            before, began = cpu_s(stage.pid), time.monotonic()
            time.sleep(seconds / 4)
            shares.append(100 * (cpu_s(stage.pid) - before) / (time.monotonic() - began))
        return row(f"supervisor of {workers} idle workers", shares, 2)


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(asked: argparse.Namespace) -> Iterator[str]:
    """Return all rows, as they come."""
    if asked.workers:
        with OfflineModel() as model:
            yield header("PSS in MB, crewai loaded")
            yield from memory(asked, model)
    if asked.idle:
        yield header("percent of one core")
        yield idle_cpu(asked.idle, asked.idle_s)


def memory(asked: argparse.Namespace, model: OfflineModel) -> Iterator[str]:
    """Return the rows of the memory: idle, with more workers, after runs."""
    yield from idle_memory(asked, model)
    if asked.runs:
        yield from memory_after_runs(asked.workers, asked.runs, model)


def total(seen: dict[str, list[float]]) -> float:
    """Return the PSS of a whole tree."""
    return sum(map(sum, seen.values()))


def main() -> int:
    """Print the tables; 0 leaves a part out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--more", type=int, default=32)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--idle", type=int, default=64)
    parser.add_argument("--idle-s", type=float, default=60)
    asked = parser.parse_args()
    return report(lambda: measure(asked))


if __name__ == "__main__":
    sys.exit(main())
