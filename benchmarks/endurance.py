"""Whether a supervisor stays as it is over many runs: descriptors, threads, memory.

    python benchmarks/endurance.py [--runs 10000] [--workers 4] [--recycle-every 50] [--samples 5] …

One real supervisor whose workers are recycled all the while. It is looked at after each fifth of
the runs, when it rests; the drift is that of the last look against the first, so that what
it needs once (a thread of a pool, a page of a buffer) does not count as growth.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from stage import Lost, Stage, report
from tables import drift


def look(pid: int) -> tuple[int, int, float]:
    """Return descriptors, threads and resident MB of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    threads = re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)
    resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    if threads is None or resident is None:
        raise Lost(f"process {pid} is gone")
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), int(threads[1]), int(resident[1]) / 1024


def measure(asked: argparse.Namespace) -> list[str]:
    """Return the table: a line a look, and the drift."""
    with Stage() as stage:
        stage.write("small", "return '{}'")
        stage.start(workers=asked.workers, max_runs_per_worker=asked.recycle_every)
        lines = [f"{'after runs':>12} {'fds':>6} {'threads':>8} {'RSS MB':>8} {'runs/s':>8}"]
        seen, results = [], stage.results()
        step = asked.runs // asked.samples
        for sample in range(1, asked.samples + 1):
            began = time.monotonic()
            stage.publish("small", step)
            results = stage.wait_results(1200)
            rate = step / (time.monotonic() - began)
            time.sleep(asked.rest_s)
            seen.append(look(stage.pid))
            fds, threads, rss = seen[-1]
            lines.append(f"{sample * step:>12} {fds:>6} {threads:>8} {rss:>8.1f} {rate:>8.0f}")
        if bad := [result for result in results.values() if result["status"] != "completed"]:
            raise Lost(f"{len(bad)} runs failed: {bad[0]}")
        drifts = [drift(values) for values in zip(*seen, strict=True)]
        lines.append(f"{'drift %':>12} " + "{:>6.1f} {:>8.1f} {:>8.1f}".format(*drifts))
        lines.append(f"{len(stage.events('worker_recycled'))} workers were recycled meanwhile")
        return lines


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--recycle-every", type=int, default=50)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--rest-s", type=float, default=2)
    asked = parser.parse_args()
    return report(lambda: measure(asked))


if __name__ == "__main__":
    sys.exit(main())
