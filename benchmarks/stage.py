"""What the benchmarks play on: a server, a real supervisor, crews written on the spot.

`Stage` is a context manager. It starts a server of its own; `start()` starts a supervisor with
the variables that are given and no other of ours; whatever happens, nothing outlives the block.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
from redis import Redis

from supervisor.embedded.server import EmbeddedServer

COMMAND = (sys.executable, "-m", "supervisor.cli", "run")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
_LINE = re.compile(r"(\S+Z) \w+ +(\w+) ?(.*)")
_FACT = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')
_CREW = """{imports}

class Crew:
    def __init__(self, settings):
        self.settings = settings

    def kickoff(self, inputs):
        settings = self.settings
{body}

def create_crew(settings):
    return Crew(settings)
"""

T = TypeVar("T")


class Lost(Exception):  # noqa: N818  # named for what happened
    """A run has no result, or another than it should."""


def wait_until(fact: Callable[[], T], within_s: float = 60, what: str = "") -> T:
    """Return the fact's value as soon as it is true. Raises Lost when it stays false."""
    give_up_at = time.monotonic() + within_s
    while not (value := fact()):
        if time.monotonic() > give_up_at:
            raise Lost(f"not within {within_s:g} s: {what or fact}")
        time.sleep(0.005)
    return value


class Stage:
    """A server, a folder of crews, and one supervisor at a time."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._published: list[str] = []

    def __enter__(self) -> Self:
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self.plugins = self.folder / "plugins"
        self.plugins.mkdir()
        server = self._open.enter_context(EmbeddedServer())
        self.url = server.url
        self.client: Any = Redis.from_url(server.url)
        self._open.callback(self.client.close)
        self._open.callback(self.end)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # -- crews

    def write(
        self, name: str, *bodies: str, imports: str = "import os, time", **manifest: object
    ) -> None:
        """Write a plugin whose kickoff is these parts, which see `settings`; no crewai in it."""
        crew = self.plugins / name / "crew"
        crew.mkdir(parents=True)
        body = "\n".join(textwrap.dedent(part).strip() for part in bodies)
        code = _CREW.format(imports=imports, body=textwrap.indent(body, " " * 8))
        (crew / "crew.py").write_text(code)
        (crew.parent / "settings.schema.json").write_text('{"type": "object"}')
        # YAML reads JSON.
        (crew.parent / "plugin.yaml").write_text(json.dumps({"name": name, **manifest}))

    # -- the supervisor

    def start(
        self, command: Sequence[str] = COMMAND, *, workers: int = 1, **environment: object
    ) -> None:
        """Start a supervisor and return when all of its workers are idle or busy.

        `environment` are variables of crewpool, in lower case and without CREWPOOL_.
        """
        self._starts += 1
        self.log_file = self.folder / f"log-{self._starts}"
        given = {"http_port": 0, "preload": "json", "workers": workers, **environment}
        variables = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "REDIS_URL": self.url,
            "PLUGIN_DIR": str(given.pop("plugin_dir", self.plugins)),
            **{name: str(given.pop(name)) for name in list(given) if name.isupper()},
            **{f"CREWPOOL_{name.upper()}": str(value) for name, value in given.items()},
        }
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=variables, cwd=self.folder, stdout=log, stderr=log
            )
        self._workers = workers
        wait_until(self.is_whole, what=f"the pool is whole; see {self.log_file}")

    @property
    def pid(self) -> int:
        """The pid of what was started."""
        if self._process is None:
            raise Lost("there is no supervisor")
        return self._process.pid

    def is_whole(self) -> bool:
        """Whether every slot has a worker that is idle or busy. Raises Lost when it left."""
        if self._process is None or self._process.poll() is not None:
            raise Lost(f"the supervisor left:\n{self.log_file.read_text()[-3000:]}")
        return self.workers_known() == self._workers

    def workers_known(self) -> int:
        """Return how many workers the supervisor itself calls idle or busy; 0 without an answer."""
        if not (started := self.events("started")):
            return 0
        with suppress(OSError):
            url = f"http://{started[0]['http']}/metrics"
            with urllib.request.urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
            found = re.findall(r'crewpool_workers\{state="(?:idle|busy)"\} (\S+)', text)
            return int(sum(map(float, found)))
        return 0

    def ask(self, signum: int) -> None:
        """Send it a signal, and return when it has said that it heard it."""
        before = len(self.events("asked"))
        os.kill(self.pid, signum)
        wait_until(lambda: len(self.events("asked")) > before, what="it heard the signal")

    def kill(self) -> None:
        """End the supervisor alone by SIGKILL, and collect it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait_exit(self, within_s: float = 30) -> int:
        """Return its exit code once it has left."""
        if self._process is None:
            raise Lost("there is no supervisor")
        code = self._process.wait(within_s)
        self._process = None
        return code

    def end(self) -> None:
        """End it, in any state; harmless when there is none."""
        if self._process is not None:
            below = [process.pid for process in self.processes()]
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(15)
                for pid in below:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self._process = None

    def processes(self) -> list[psutil.Process]:
        """Return the supervisor and all that lives below it."""
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.pid)
            return [top, *top.children(recursive=True)]
        return []

    def zygote(self) -> int:
        """Return the pid of the zygote that was ready last, 0 when it is dead.

        Not by its title: a worker carries it too, in its first moments.
        """
        ready = self.events("zygote_ready")
        return int(ready[-1]["pid"]) if ready and psutil.pid_exists(int(ready[-1]["pid"])) else 0

    def titled(self, pattern: str) -> list[int]:
        """Return the pids of the processes below whose title matches from its beginning."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if re.match(pattern, " ".join(process.cmdline()).strip()):
                    found.append(process.pid)
        return found

    # -- runs

    def publish(self, plugin: str, count: int = 1, **settings: object) -> list[str]:
        """Publish so many runs and return their ids."""
        first = len(self._published)
        runs = [f"{plugin}-{number}" for number in range(first, first + count)]
        pipeline = self.client.pipeline(transaction=False)
        for run in runs:
            request = {"plugin_run_id": run, "plugin_name": plugin, "user_id": 1}
            pipeline.xadd(
                "plugin:requests", {"payload": json.dumps({**request, "settings": settings})}
            )
        pipeline.execute()
        self._published += runs
        return runs

    def results(self) -> dict[str, dict[str, Any]]:
        """Return all results by run. Raises Lost when a run has two."""
        entries = self.client.xrange("plugin:results")
        payloads = [json.loads(fields[b"payload"]) for _, fields in entries]
        found = {payload["plugin_run_id"]: payload for payload in payloads}
        if len(found) != len(payloads):
            raise Lost(f"{len(payloads)} results for {len(found)} runs")
        return found

    def wait_results(self, within_s: float = 60) -> dict[str, dict[str, Any]]:
        """Return the results once every published run has its one."""
        wanted = len(self._published)
        done = lambda: self.client.xlen("plugin:results") >= wanted  # noqa: E731  # named for the reader
        wait_until(done, within_s, f"{wanted} results")
        found = self.results()
        if missing := set(self._published) - set(found):
            raise Lost(f"no result for {sorted(missing)[:5]}")
        return found

    # -- what it says

    def events(self, name: str) -> list[dict[str, str]]:
        """Return the log lines of an event as facts; `at` is their time in unix seconds."""
        found = []
        for line in self.log_file.read_text("utf-8", "replace").splitlines():
            if (match := _LINE.match(line)) and match[2] == name:
                stamp = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
                facts = {key: value.strip('"') for key, value in _FACT.findall(match[3])}
                found.append({**facts, "at": repr(stamp.timestamp())})
        return found

    def moments(self, name: str) -> dict[str, float]:
        """Return when an event was logged, by run; the first time of each."""
        found: dict[str, float] = {}
        for facts in self.events(name):
            found.setdefault(facts.get("run", ""), float(facts["at"]))
        return found


def report(measure: Callable[[], Iterable[str]]) -> int:
    """Print the lines as they come; return the exit code: 1 when a run was lost, and only then."""
    try:
        for line in measure():
            print(line, flush=True)
    except Lost as error:
        print(f"LOST: {error}", file=sys.stderr)
        return 1
    return 0
