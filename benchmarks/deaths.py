"""What is left when the supervisor or the zygote is killed under load, at random points.

    python benchmarks/deaths.py [--supervisors 30] [--zygotes 20] [--preload crewai]

Supervisors with four workers whose crews sleep, spin, fork and daemonize are killed; orphans
come to us, so that none gets away unseen, and we count what lives after a second. The runs they
had are finished by the next ones, and each must have exactly one result. Then zygotes are killed
under a supervisor whose workers are being replaced all the time: every run must complete with its
first attempt, and the pool must be whole again.
"""

import argparse
import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import psutil
from stage import Lost, Stage, report, wait_until
from tables import header, row

WORKERS = 4
PROMISED_S = 1.0
_PR_SET_CHILD_SUBREAPER = 36
DAEMON = """
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 1024)
            time.sleep(600)
        os._exit(0)
    os.wait()
"""
CREWS = {
    "sleeps": ("time.sleep(0.3)",),
    "spins": ("until = time.time() + 0.3\nwhile time.time() < until: pass",),
    "daemonizes": (DAEMON, "time.sleep(0.3)"),
    "forks": ("for _ in range(10):\n    if os.fork() == 0: time.sleep(600)\ntime.sleep(0.3)",),
    "starts-programs": (
        "import subprocess",
        "subprocess.Popen(['sh', '-c', 'sleep 600 & sleep 600'], start_new_session=True)",
        "time.sleep(0.3)",
    ),
}


def adopt_orphans() -> None:
    """Become the parent of all that a dead supervisor leaves behind."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("cannot become a subreaper")


def orphans(spare: set[int]) -> list[psutil.Process]:
    """Return what lives below us beyond `spare`, and collect those of ours that are dead."""
    alive = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if process.pid in spare:
                continue
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
            elif process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)
            else:
                alive.append(process)  # a zombie whose parent does not collect it
    return alive


def start(stage: Stage, preload: str) -> None:
    """Start a supervisor that takes over quickly, and does not give up a run."""
    leases = {"lease_s": 2, "renew_every_s": 0.5, "sweep_every_s": 0.3}
    facts: dict[str, Any] = {
        "preload": preload,
        "max_attempts": 100,
        "quarantine_crashes": 0,
        **leases,
    }
    stage.start(workers=WORKERS, **facts)


def kill_supervisors(rounds: int, preload: str) -> list[str]:
    """Kill so many supervisors; return the rows."""
    gone_ms: list[float] = []
    left: list[float] = []
    with Stage() as stage:
        for name, bodies in CREWS.items():
            stage.write(name, *bodies)
        spare = {process.pid for process in psutil.Process().children(recursive=True)}
        for _ in range(rounds):
            start(stage, preload)
            for name in random.choices(list(CREWS), k=2 * WORKERS):
                stage.publish(name)
            time.sleep(random.uniform(0, 0.8))
            stage.kill()
            began = time.monotonic()
            while (rest := orphans(spare)) and time.monotonic() < began + PROMISED_S:
                time.sleep(0.002)
            gone_ms.append(1000 * (time.monotonic() - began))
            left.append(len(rest))
            for process in rest:
                print("left:", process, process.cmdline(), file=sys.stderr)
                process.kill()
        start(stage, preload)
        results = stage.wait_results(300)
        again = [float(result["meta"]["attempt"]) for result in results.values()]
        return [
            header("supervisor kill -9 under load"),
            row("ms until no process is left", gone_ms),
            row(f"processes left after {PROMISED_S:g} s", left, 0),
            row("attempts of a run (each has one result)", again, 0),
        ]


def kill_zygotes(rounds: int, preload: str) -> list[str]:
    """Kill so many zygotes of one supervisor; return the rows."""
    new_ms: list[float] = []
    with Stage() as stage:
        stage.write("sleeps", "time.sleep(0.05)")
        stage.write("daemonizes", DAEMON)
        # A crew that leaves a process behind costs its worker: new ones are ordered all the time.
        start(stage, preload)
        for _ in range(rounds):
            stage.publish("sleeps", 4 * WORKERS)
            stage.publish("daemonizes", WORKERS)
            time.sleep(random.uniform(0, 0.4))
            zygote = wait_until(stage.zygote)
            began = time.monotonic()
            os.kill(zygote, signal.SIGKILL)
            wait_until(partial(has_other_zygote, stage, zygote))
            new_ms.append(1000 * (time.monotonic() - began))
            wait_until(stage.is_whole, what="the pool is whole again")
        results = stage.wait_results(300)
        disturbed = [r for r in results.values() if is_disturbed(r)]
        if disturbed:
            raise Lost(f"{len(disturbed)} runs were disturbed: {disturbed[0]}")
        restarts = len(stage.events("zygote_died"))
    return [
        header(f"zygote kill -9 under load ({preload} loaded)"),
        row("ms until a new zygote is ready", new_ms),
        f"{restarts} zygotes died; {len(results)} runs, all completed with their first attempt",
    ]


def has_other_zygote(stage: Stage, old: int) -> bool:
    """Whether a zygote is ready that is not the old one."""
    return stage.zygote() not in (0, old)


def is_disturbed(result: dict[str, object]) -> bool:
    """Whether a run did not complete at its first attempt."""
    meta = result["meta"]
    return result["status"] != "completed" or not isinstance(meta, dict) or meta["attempt"] != 1


def main() -> int:
    """Print the tables; 0 leaves a part out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--supervisors", type=int, default=30)
    parser.add_argument("--zygotes", type=int, default=20)
    parser.add_argument("--preload", default="crewai")
    asked = parser.parse_args()
    adopt_orphans()

    def measure() -> Iterator[str]:
        if asked.supervisors:
            yield from kill_supervisors(asked.supervisors, "json")
        if asked.zygotes:
            yield from kill_zygotes(asked.zygotes, asked.preload)

    return report(measure)


if __name__ == "__main__":
    sys.exit(main())
