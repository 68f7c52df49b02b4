"""The real program as a process: started, asked, signalled, waited for, and always ended.

For tests that need workers and signals. Its log goes to a file; what it prints there and
serves over HTTP, and what the kernel shows of it, are the only ways to look inside.
"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.linux import (
    adopt_orphans,
    collect,
    die_with_pytest,
    is_alive,
    kill,
    living_below,
    title_of,
)
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
DRILLS = ROOT / "tests" / "plugins"
COMMAND = (str(Path(sys.executable).with_name("crewpool")), "run")
# What a program needs to run at all. Everything else of pytest's environment stays away.
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
# Drills need no crewai: with it each start would cost seconds.
DEFAULTS = {"CREWPOOL_PRELOAD": "json", "CREWPOOL_HTTP_PORT": "0"}
# For tests in which another supervisor takes over.
QUICK_LEASES = {
    "CREWPOOL_LEASE_S": "2",
    "CREWPOOL_RENEW_EVERY_S": "0.5",
    "CREWPOOL_SWEEP_EVERY_S": "0.3",
}
_LINE = re.compile(r"(?P<at>\S+Z) (?P<level>[A-Z]+) +(?P<event>[a-z_]+)(?P<facts>.*)")
_FACT = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')


@dataclass(frozen=True)
class LogLine:
    """One line of the log, taken apart."""

    level: str
    event: str
    facts: dict
    raw: str

    def __getitem__(self, name):
        return self.facts[name]


class SupervisorProcess:
    """One supervisor. `environment` adds to, or with None takes from, the defaults."""

    def __init__(self, redis_url, folder, plugin_dir=DRILLS, *, wrapper=(), **environment):
        self.folder = folder
        self.log_file = folder / "supervisor.log"
        self._process = None
        self._command = (*wrapper, *COMMAND)
        self._environment = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            **DEFAULTS,
            "REDIS_URL": redis_url,
            "PLUGIN_DIR": str(plugin_dir),
            "CREWPOOL_STORAGE_DIR": str(folder / "storage"),
            **{name: str(value) for name, value in environment.items()},
        }

    # -- life

    def start(self):
        """Start the program; it is not ready when this returns."""
        adopt_orphans()
        (self.folder / "storage").mkdir(parents=True)
        (self.folder / "cwd").mkdir()
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self.folder / "cwd",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
            )
        return self

    def wait_ready(self, within_s=20):
        """Return when it would take runs now."""
        wait_until(self._is_ready, within_s, "the supervisor is ready")
        return self

    def wait_idle(self, workers=2, within_s=10):
        """Return when so many workers are there and none is busy."""
        wait_until(
            lambda: self.metric("crewpool_workers", state="idle") == workers,
            within_s,
            f"{workers} workers are idle",
        )
        return self

    @property
    def pid(self):
        return self._process.pid

    @property
    def host(self):
        """The name that its consumers begin with."""
        return self.log_lines("started")[0]["host"]

    @property
    def is_running(self):
        return self._process.poll() is None

    def signal(self, signum):
        self._process.send_signal(signum)

    def wait_exit(self, within_s=15):
        """Return the exit code."""
        wait_until(lambda: not self.is_running, within_s, "the supervisor has left")
        return self._process.returncode

    def stop(self, within_s=15):
        """Ask it to drain and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(within_s)

    def kill(self):
        """kill -9 the supervisor alone, and collect it."""
        self._process.kill()
        self._process.wait(timeout=10)

    def end(self):
        """Kill all that is left, in any state; for the end of a test."""
        if self._process is None:
            return
        below = living_below(self.pid) if self.is_running else []
        if self.is_running:
            kill(self.pid, signal.SIGCONT)
            self.kill()
        for process in below:
            kill(process.pid)
            wait_until(lambda p=process: not is_alive(p.pid), what=f"{process.pid} is dead")
            collect(process.pid)

    # -- what the kernel shows

    def workers(self):
        """Return the workers as processes, by slot."""
        found = {}
        for process in self._children():
            if match := re.match(r"crewpool s(\d+) ", title_of(process)):
                found[int(match[1])] = process
        return found

    def worker_pids(self):
        """Return the pids of the workers, by slot."""
        return {slot: process.pid for slot, process in sorted(self.workers().items())}

    def titles(self):
        """Return the titles of all processes below, as `ps` shows them."""
        return sorted(filter(None, map(title_of, self._children())))

    def zygote(self):
        """Return the zygote as a process, None when there is none that is ready."""
        found = [p for p in self._children() if title_of(p) == "crewpool zygote"]
        return found[0] if found else None

    def busy(self, plugin):
        """Return the pid of a worker that runs this plugin, None when there is none."""
        for process in self._children():
            if re.match(rf"crewpool s\d+ {plugin} ", title_of(process)):
                return process.pid
        return None

    def _children(self):
        try:
            return [p for p in psutil.Process(self.pid).children() if is_alive(p.pid)]
        except psutil.NoSuchProcess:
            return []

    # -- what it says

    def log(self):
        return self.log_file.read_text("utf-8", "replace")

    def log_lines(self, event=None, **facts):
        """Return the lines of an event, those that have these facts."""
        return [
            line
            for line in map(parsed, self.log().splitlines())
            if line is not None
            and event in (None, line.event)
            and all(line.facts.get(name) == str(value) for name, value in facts.items())
        ]

    def said(self, run_id=None):
        """Return what crews printed, line by line."""
        wanted = {} if run_id is None else {"run": run_id}
        return [line["line"] for line in self.log_lines("crew_said", **wanted)]

    def get(self, path):
        """Ask over HTTP; return status and text."""
        url = f"http://{self.http_address}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @property
    def http_address(self):
        return wait_until(lambda: self.log_lines("started"), what="it has started")[0]["http"]

    def readiness(self):
        """Return status and body of the readiness probe."""
        status, body = self.get("/health/ready")
        return status, json.loads(body)

    def liveness(self):
        """Return status and body of the liveness probe."""
        status, body = self.get("/health/live")
        return status, json.loads(body)

    def metric(self, name, **labels):
        """Return a sample of /metrics as a number, None when it is not there."""
        for line in self.get("/metrics")[1].splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and dict(re.findall(r'(\w+)="([^"]*)"', match[1] or "")) == labels:
                return float(match[2])
        return None

    def _is_ready(self):
        if not self.is_running:
            raise AssertionError(f"it left with {self._process.returncode}:\n{self.log()[-4000:]}")
        return self.log_lines("started") and self.get("/health/ready")[0] == 200


def parsed(line):
    """Return a line of a log taken apart, None where it is none."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    facts = {
        name: json.loads(value) if value.startswith('"') else value
        for name, value in _FACT.findall(match["facts"])
    }
    return LogLine(match["level"], match["event"], facts, line)
