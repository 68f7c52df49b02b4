"""A real PostgreSQL for the tests, with a folder and a port of its own.

It refuses to be run by root, so it gets a user who owns nothing else. It dies with pytest.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support.linux import die_with_pytest
from tests.support.servers import HOST, free_port
from tests.support.waiting import wait_until

PASSWORD = "its/secret@word"
_QUOTED = "its%2Fsecret%40word"
# What would only be for the day after a power cut.
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB")


class PostgresServer:
    """One server. It can be stopped, killed, frozen and started again."""

    def __init__(self, programs, **options):
        """Make one; `options` are more of the server's own."""
        self._programs = programs
        self._more = [f"{name}={value}" for name, value in options.items()]
        self._folder = None
        self._process = None
        self._numbers = count()
        self.port = free_port()

    @classmethod
    def or_skip(cls, **options):
        """Return a server, or skip the test with the reason; in CI its absence is a failure."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        program = str(found[-1]) if found else shutil.which("postgres")
        if program is None:
            reason = "there is no PostgreSQL on this machine (Debian: apt-get install postgresql)"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return cls(Path(program).resolve().parent, **options)

    def url(self, database="postgres"):
        return f"postgresql://crewpool:{_QUOTED}@{HOST}:{self.port}/{database}"

    def new_database(self):
        """Make an empty database; return its URL."""
        name = f"db{next(self._numbers)}"
        with self.connected() as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.url(name)

    def connected(self, url=None):
        """Connect as the check side does."""
        return psycopg.connect(url or self.url(), autocommit=True)

    def start(self):
        """Start it and return when it answers; the first time in a new folder."""
        if self._folder is None:
            # Not below pytest's folders, which only their owner may enter.
            self._folder = Path(tempfile.mkdtemp(prefix="crewpool-pg-"))
            if os.geteuid() == 0:
                os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
            self._init()
        options = [f"listen_addresses={HOST}", "unix_socket_directories=", *_QUICK, *self._more]
        self._process = self._popen(
            "postgres",
            *("-D", "data", "-p", str(self.port)),
            *(word for option in options for word in ("-c", option)),
        )
        wait_until(self._answers, 20, f"PostgreSQL answers on port {self.port}")
        return self

    def stop(self):
        """End it as a restart does: whoever is connected is cut off."""
        self._end(signal.SIGINT)

    def kill(self):
        """End it as `pg_ctl stop -m immediate` does: it recovers at its next start."""
        self._end(signal.SIGQUIT)

    @contextmanager
    def paused(self):
        """Freeze all of it for a block: connections can be made, and nothing answers."""
        frozen = [psutil.Process(self._process.pid)]
        frozen[0].suspend()  # first: it makes no more of them
        frozen += frozen[0].children()
        for process in frozen:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in frozen:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def end(self):
        """End it for good, and remove its folder."""
        if self._process is not None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _init(self):
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        words = ("-D", "data", "-U", "crewpool", "-A", "scram-sha-256", "--pwfile=secret")
        done = self._popen("initdb", *words, "-E", "UTF8", "--locale=C", "--no-sync").wait(60)
        assert done == 0, self._log()

    def _end(self, signum):
        self._process.send_signal(signum)
        self._process.wait(timeout=20)
        self._process = None

    def _answers(self):
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended at once:\n{self._log()}")
        try:
            self.connected().close()
        except psycopg.OperationalError:
            return False
        return True

    def _log(self):
        return (self._folder / "log").read_text("utf-8", "replace")[-2000:]

    @property
    def _user(self):
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        return None

    def _popen(self, program, *words):
        becomes = {}
        if os.geteuid() == 0:
            becomes = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *words],
                cwd=self._folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
                **becomes,
            )
