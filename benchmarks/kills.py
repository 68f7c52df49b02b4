"""From the deadline of a run to the death of its whole tree, and on to the next crew.

    python benchmarks/kills.py [--rounds 30] [--preload crewai]

One real supervisor with one worker and a real server. A run that will not end is followed by
one that writes down when it began, so that the slot goes from one to the next by itself. Every
process of a tree holds the write end of a pipe of ours: the kernel reports its end in the moment
when the last of them is dead, whatever session it made for itself. Then the same storm of forks
is ended by one signal to its group, without a supervisor's doing: what is left of a kill when all
of ours is taken away is the kernel's, which has the memory of fifty processes to give back. Last,
workers are killed from outside, and their run is started again.
"""

import argparse
import json
import os
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stage import Lost, Stage, report
from tables import header, row

TIMEOUT_S = 0.3
# The write end stays open, and everything that is forked from here inherits it.
OPEN = """
pipe = os.open(settings["pipe"], os.O_WRONLY)
os.set_inheritable(pipe, True)
os.write(pipe, f"{os.getpid()} {time.time()}\\n".encode())
"""
ENDLESS = {
    "Python loop": "while True: pass",
    "C loop that holds the GIL": "deque(repeat(None), maxlen=0)",
    "SIGTERM ignored": """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        time.sleep(60)
    """,
    "setsid daemon": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
        time.sleep(60)
    """,
    # Fifty at any moment, none of them older than a twentieth of a second.
    "fork storm of 50": """
        for _ in range(50):
            if os.fork() == 0:
                while True:
                    time.sleep(0.05)
                    if os.fork():
                        os._exit(0)
        time.sleep(60)
    """,
}
STORM = "fork storm of 50"
IMPORTS = "import os, signal, time\nfrom collections import deque\nfrom itertools import repeat"


@dataclass
class Pipe:
    """A named pipe that a tree of processes writes to, and all of them hold open."""

    path: Path

    def __post_init__(self) -> None:
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN | select.POLLHUP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self.path.unlink()

    def line(self, within_s: float = 30) -> tuple[int, float]:
        """Return the pid and the time that the next process wrote. Raises Lost."""
        self._wait(select.POLLIN, within_s)
        pid, at = os.read(self._fd, 4096).decode().split()[:2]
        return int(pid), float(at)

    def end(self, within_s: float = 30) -> float:
        """Return when the last process that held it was dead. Raises Lost."""
        self._wait(select.POLLHUP, within_s)
        return time.time()

    def _wait(self, event: int, within_s: float) -> None:
        give_up_at = time.monotonic() + within_s
        while not any(happened & event for _, happened in self._poll.poll(1000)):
            if time.monotonic() > give_up_at:
                raise Lost(f"nothing came over {self.path.name}")
            # Nobody holds it for now, and poll() says so at once, again and again.
            time.sleep(0.0005)


def overrun(stage: Stage, rounds: int) -> list[str]:
    """Return the rows of all crews that overrun, and of the one that follows."""
    stage.write("starts", "return repr(time.time())")
    late: defaultdict[str, list[float]] = defaultdict(list)
    gaps: defaultdict[str, list[float]] = defaultdict(list)
    for name, plugin in plugins_of(stage).items():
        for number in range(rounds):
            with Pipe(stage.folder / f"{plugin}-{number}") as pipe:
                (run,) = stage.publish(plugin, pipe=str(pipe.path))
                (after,) = stage.publish("starts")
                pipe.line()
                dead_at = pipe.end()
            results = stage.wait_results()
            check(results[run]["error"] == f"Workflow exceeded {TIMEOUT_S}s timeout", results[run])
            check(results[after]["status"] == "completed", results[after])
            started, killed = stage.moments("run_started")[run], stage.moments("worker_killed")[run]
            began = float(json.loads(results[after]["output"])["raw"])
            late[name].append(1000 * (dead_at - started - TIMEOUT_S))
            gaps[name].append(1000 * (began - killed))
    return [
        *(row(f"deadline -> tree dead: {name}", values) for name, values in late.items()),
        *(row(f"kill -> next crew runs: {name}", values) for name, values in gaps.items()),
    ]


def plugins_of(stage: Stage) -> dict[str, str]:
    """Write the crews that overrun; return their plugins by what they are."""
    found = {}
    for number, (name, body) in enumerate(ENDLESS.items()):
        found[name] = f"endless-{number}"
        stage.write(found[name], OPEN, body, imports=IMPORTS, timeout_s=TIMEOUT_S)
    return found


def without_us(stage: Stage, rounds: int) -> str:
    """Return the row of storms that one signal to their group ends, all of them at once."""
    once = {"crash": {"attempts": 1}}
    stage.write("storm", OPEN, ENDLESS[STORM], imports=IMPORTS, retry=once)
    late = []
    for number in range(rounds):
        with Pipe(stage.folder / f"storm-{number}") as pipe:
            stage.publish("storm", pipe=str(pipe.path))
            pid, _ = pipe.line()
            time.sleep(TIMEOUT_S)
            at = time.time()
            os.killpg(pid, signal.SIGKILL)
            late.append(1000 * (pipe.end() - at))
        # Or the slot would wait: to it this is a worker that crashes.
        stage.publish("starts")
        stage.wait_results()
    return row(f"the kernel alone -> tree dead: {STORM}", late)


def killed(stage: Stage, rounds: int) -> str:
    """Return the row of workers that are killed from outside, and of their run's next start."""
    stage.write(
        "twice",
        # Before the pipe is told: the kill may come a moment later.
        """
        again = os.path.exists(settings["pipe"] + ".again")
        open(settings["pipe"] + ".again", "w").close()
        """,
        OPEN,
        "time.sleep(0 if again else 60)",
        retry={"crash": {"attempts": 2, "backoff_s": 0}},
    )
    again = []
    for number in range(rounds):
        with Pipe(stage.folder / f"twice-{number}") as pipe:
            (run,) = stage.publish("twice", pipe=str(pipe.path))
            pid, _ = pipe.line()
            at = time.time()
            os.kill(pid, signal.SIGKILL)
            again.append(1000 * (pipe.line()[1] - at))
        result = stage.wait_results()[run]
        check(result["status"] == "completed" and result["meta"]["attempt"] == 2, result)
    return row("worker kill -9 -> its run is started again", again)


def check(is_so: object, result: object) -> None:
    """Raise Lost when a run did not end as it should."""
    if not is_so:
        raise Lost(f"a run ended otherwise: {result}")


def measure(rounds: int, preload: str) -> Iterator[str]:
    """Return the table, line by line."""
    with Stage() as stage:
        # Some hundred kills of the same plugins are not a reason to pause them here.
        stage.start(preload=preload, quarantine_crashes=0)
        yield header(f"milliseconds ({preload} loaded)")
        yield from overrun(stage, rounds)
        yield without_us(stage, rounds)
        yield killed(stage, rounds)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--preload", default="crewai")
    asked = parser.parse_args()
    return report(lambda: measure(asked.rounds, asked.preload))


if __name__ == "__main__":
    sys.exit(main())
