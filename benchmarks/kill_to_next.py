"""From the deadline of a run to its death, and from the kill to the next crew.

    python benchmarks/kill_to_next.py [--rounds 30] [--preload crewai]

One real supervisor with one worker, a real server, and pairs of runs: one that spins in C
with the GIL held until its timeout ends it, and one that writes down when its crew began.
Both wait in the stream, so that the slot goes from one to the next by itself. The times are
taken from the supervisor's log and from the second crew's own clock.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis

from supervisor.embedded.server import EmbeddedServer

TIMEOUT_S = 0.3
STARTS = """import json, time

class Crew:
    def kickoff(self, inputs):
        return json.dumps({"began_at": time.time()})

def create_crew(settings):
    return Crew()
"""
SPINS = """from collections import deque
from itertools import repeat

class Crew:
    def kickoff(self, inputs):
        deque(repeat(None), maxlen=0)

def create_crew(settings):
    return Crew()
"""


def write_plugins(folder: Path) -> None:
    """Write the two plugins of this benchmark."""
    for name, code, extra in (("starts", STARTS, ""), ("spins", SPINS, f"timeout_s: {TIMEOUT_S}")):
        crew = folder / name / "crew"
        crew.mkdir(parents=True)
        (folder / name / "plugin.yaml").write_text(f"name: {name}\n{extra}\n")
        (folder / name / "settings.schema.json").write_text('{"type": "object"}')
        (crew / "crew.py").write_text(code)


def row(name: str, values_ms: list[float]) -> str:
    """Return one line of the table: n, p50, p99 and the largest value."""
    ordered = sorted(values_ms)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    median = statistics.median(ordered)
    return f"{name:<44} {len(ordered):>5} {median:>8.1f} {p99:>8.1f} {ordered[-1]:>8.1f}"


def moments(log: str) -> dict[str, list[tuple[float, str]]]:
    """Return the times of each event in a supervisor's log, with the rest of the line."""
    found: dict[str, list[tuple[float, str]]] = {}
    for line in log.splitlines():
        if match := re.match(r"(\S+Z) \w+ +(\w+) ?(.*)", line):
            stamp = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
            found.setdefault(match[2], []).append((stamp.timestamp(), match[3]))
    return found


def wait_for(server: EmbeddedServer, results: int) -> list[dict[str, str]]:
    """Wait until that many results stand on the stream; return their payloads."""
    client: Any = Redis.from_url(server.url)
    until = time.monotonic() + 30 + results
    while client.xlen("plugin:results") < results:
        if time.monotonic() > until:
            raise SystemExit(f"only {client.xlen('plugin:results')} of {results} results came")
        time.sleep(0.05)
    entries = client.xrange("plugin:results")
    return [json.loads(fields[b"payload"]) for _, fields in entries]


def publish(server: EmbeddedServer, rounds: int) -> None:
    """Publish the pairs."""
    client = Redis.from_url(server.url)
    for number in range(rounds):
        for plugin in ("spins", "starts"):
            run = {"plugin_run_id": f"{plugin}-{number}", "plugin_name": plugin, "user_id": 1}
            client.xadd("plugin:requests", {"payload": json.dumps({**run, "settings": {}})})


def measure(rounds: int, preload: str) -> list[str]:
    """Run it and return the lines of the table."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer() as server:
        write_plugins(Path(folder))
        log = Path(folder) / "log"
        environment = {
            "PATH": os.environ["PATH"],
            "REDIS_URL": server.url,
            "PLUGIN_DIR": folder,
            "CREWPOOL_WORKERS": "1",
            "CREWPOOL_HTTP_PORT": "0",
            "CREWPOOL_PRELOAD": preload,
        }
        publish(server, rounds)
        with log.open("w") as stderr:
            command = [sys.executable, "-m", "supervisor.cli", "run"]
            process = subprocess.Popen(command, env=environment, stderr=stderr, cwd=folder)
            try:
                results = wait_for(server, 2 * rounds)
            finally:
                process.send_signal(signal.SIGINT)
                process.wait()
        return table(moments(log.read_text()), results)


def table(seen: dict[str, list[tuple[float, str]]], results: list[dict[str, str]]) -> list[str]:
    """Compute both lengths for each pair."""
    began = {
        result["plugin_run_id"]: json.loads(json.loads(result["output"])["raw"])["began_at"]
        for result in results
        if result["output"]
    }
    started = {line.split("run=")[1].split()[0]: at for at, line in seen["run_started"]}
    killed = {line.split("run=")[1].split()[0]: at for at, line in seen["worker_killed"]}
    died = {line.split("run=")[1].split()[0]: at for at, line in seen["run_died"]}
    numbers = [run.split("-")[1] for run in killed]
    late = [1000 * (died[f"spins-{n}"] - started[f"spins-{n}"] - TIMEOUT_S) for n in numbers]
    gap = [1000 * (began[f"starts-{n}"] - killed[f"spins-{n}"]) for n in numbers]
    return [
        f"{'milliseconds':<44} {'n':>5} {'p50':>8} {'p99':>8} {'max':>8}",
        row("deadline -> process tree dead and reaped", late),
        row("kill -> the slot's next crew is running", gap),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--preload", default="crewai")
    options = parser.parse_args()
    print("\n".join(measure(options.rounds, options.preload)))


if __name__ == "__main__":
    main()
