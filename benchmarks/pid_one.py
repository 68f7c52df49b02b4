"""The supervisor as PID 1 of a namespace, as in a container: orphans, zombies, TERM.

    python benchmarks/pid_one.py [--rounds 20]

Needs root: `unshare` makes the namespace. Crews daemonize and workers are killed, so that
orphans come to PID 1; then strangers do (what `kubectl exec` leaves behind). What counts is how
long a zombie stays. At last TERM comes while a crew runs: it must finish, and the exit be clean.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from stage import COMMAND, Lost, Stage, report, wait_until
from tables import header, row

ISOLATED = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *COMMAND)
DAEMON = """
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    os.wait()
"""


def inside(stage: Stage) -> int:
    """Return the pid, as seen from here, of the one that is PID 1 in there."""
    return wait_until(lambda: [child.pid for child in psutil.Process(stage.pid).children()])[0]


def zombies(top: int) -> set[int]:
    """Return the dead below a process that nobody has collected yet."""
    found = set()
    for process in psutil.Process(top).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


def longest_zombie_ms(top: int, for_s: float) -> float:
    """Watch for so long; return how long the longest zombie was seen."""
    first: dict[int, float] = {}
    longest = 0.0
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        now, dead = time.monotonic(), zombies(top)
        first = {pid: first.get(pid, now) for pid in dead}
        longest = max([longest, *(1000 * (now - at) for at in first.values())])
        time.sleep(0.002)
    return longest


def orphan_everything(stage: Stage, top: int, rounds: int) -> list[float]:
    """Make orphans of crews, of killed workers and of strangers; return how long zombies stay."""
    seen = []
    for number in range(rounds):
        stage.publish("daemonizes", 2)
        # Not each time: a slot whose workers die in a row waits longer and longer.
        if number % 5 == 0:
            stage.publish("daemonizes-and-stays", 1)
            wait_until(lambda: stage.titled(r"crewpool s\d+ daemonizes-and-stays"))
            with suppress(ProcessLookupError):
                os.kill(stage.titled(r"crewpool s\d+ daemonizes-and-stays")[0], signal.SIGKILL)
        stranger = ["nsenter", "--target", str(top), "--pid", "sh", "-c", "sleep 0.1 & exit 0"]
        subprocess.run(stranger, check=True)
        seen.append(longest_zombie_ms(top, 0.4))
    return seen


def drain(stage: Stage, top: int) -> tuple[float, int]:
    """Send TERM while a crew runs; return how long it took in ms, and the exit code."""
    stage.publish("sleeps")
    wait_until(lambda: stage.titled(r"crewpool s\d+ sleeps"))
    began = time.monotonic()
    os.kill(top, signal.SIGTERM)
    code = stage.wait_exit()
    return 1000 * (time.monotonic() - began), code


def measure(rounds: int) -> list[str]:
    """Return the table. Raises Lost when a run is, or when the exit is not clean."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return ["left out: a namespace needs root and unshare"]
    with Stage() as stage:
        stage.write("daemonizes", DAEMON)
        # One run may be met by several kills.
        retry = {"crash": {"attempts": 100, "backoff_s": 0}}
        stage.write("daemonizes-and-stays", DAEMON, "time.sleep(0.3)", retry=retry)
        stage.write("sleeps", "time.sleep(1)")
        stage.start(ISOLATED, workers=2, quarantine_crashes=0)
        top = inside(stage)
        shown = re.search(r"NSpid:.*\s(\d+)", Path(f"/proc/{top}/status").read_text())
        seen = orphan_everything(stage, top, rounds)
        left = zombies(top)
        took_ms, code = drain(stage, top)
        results = stage.wait_results(10)
        if code != 0 or left:
            raise Lost(f"exit {code}, zombies {left}")
        if bad := [result for result in results.values() if result["status"] != "completed"]:
            raise Lost(f"{len(bad)} runs failed: {bad[0]}")
        return [
            header(f"as PID {shown[1] if shown else '?'}"),
            row("ms that the longest zombie stayed, a round", seen),
            row("ms from TERM to exit 0, a crew of 1 s running", [took_ms]),
            f"{len(results)} runs, all completed",
        ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    return report(lambda: measure(asked.rounds))


if __name__ == "__main__":
    sys.exit(main())
