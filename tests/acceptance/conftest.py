"""The command as a user has it: started, read, interrupted, and looked for afterwards."""

import os
import pty
import select
import subprocess
import time

import pytest

from tests.support.commands import COMMAND, Commands
from tests.support.linux import (
    adopt_orphans,
    collect,
    die_with_pytest,
    is_alive,
    kill,
    living_below,
)
from tests.support.supervisors import DRILLS, ROOT
from tests.support.waiting import wait_until

# What a command needs to run at all; nothing of the machine may turn into a setting.
PASSED_ON = ("PATH", "HOME", "LANG")
# Nobody listens there: port 1 needs root, and is nobody's.
NOWHERE = "redis://127.0.0.1:1/0"


class Crewpool:
    """Runs the command in a folder of the test's own, with a TMPDIR of its own."""

    def __init__(self, folder, commands):
        self.folder = folder
        self._commands = commands
        self.tmp = folder / "tmp"
        self.storage = folder / "storage"
        self.tmp.mkdir(parents=True)
        self.storage.mkdir()
        self._started = []
        # What a command leaves behind shall come to us, and be seen.
        adopt_orphans()

    def __call__(self, *arguments, within_s=60, **environment):
        """Run it to its end; return exit code and texts."""
        arguments = [str(argument) for argument in arguments]
        return self._commands.run(arguments, self.environment(environment), self.folder, within_s)

    def start(self, *arguments, **environment):
        """Start it; its texts go to the files `out` and `err`."""
        started = Started(self.folder / f"run-{len(self._started)}")
        self._started.append(started)
        with started.out_file.open("wb") as out, started.err_file.open("wb") as err:
            started.process = subprocess.Popen(
                [COMMAND, *map(str, arguments)],
                env=self.environment(environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
            )
        return started

    def on_terminal(self, *arguments, columns=100, within_s=60, typed="", **environment):
        """Run it on a terminal; return exit code and all that was drawn.

        `typed` waits at the keyboard from the start.
        """
        terminal, other_end = pty.openpty()
        more = {"TERM": "xterm-256color", "COLUMNS": columns, **environment}
        process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            env=self.environment(more),
            cwd=self.folder,
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
            start_new_session=True,
            preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
        )
        os.close(other_end)
        os.write(terminal, typed.encode())
        drawn, give_up_at = b"", time.monotonic() + within_s
        try:
            while data := _read(terminal, give_up_at):
                drawn += data
            return process.wait(10), drawn.decode("utf-8", "replace")
        finally:
            process.kill()
            process.wait(10)
            os.close(terminal)

    def environment(self, more):
        """Return what the command gets to see; None takes a variable away."""
        merged = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "TMPDIR": self.tmp,
            "CREWPOOL_STORAGE_DIR": self.storage,
            "PLUGIN_DIR": DRILLS,
            "CREWPOOL_PRELOAD": "json",
            "CREWPOOL_HTTP_PORT": "0",
            "CREWPOOL_RECORDS_HTTP_PORT": "0",
            "CREWPOOL_GATEWAY_HTTP_PORT": "0",
            "REDIS_URL": NOWHERE,
            **more,
        }
        return {name: str(value) for name, value in merged.items() if value is not None}

    def end(self):
        """Kill what still runs, and all below it."""
        for started in self._started:
            started.end()


class Started:
    """A command that runs."""

    def __init__(self, folder):
        folder.mkdir()
        self.out_file = folder / "out"
        self.err_file = folder / "err"
        self.process = None

    @property
    def out(self):
        return self.out_file.read_text("utf-8", "replace")

    @property
    def err(self):
        return self.err_file.read_text("utf-8", "replace")

    def wait_for(self, text, within_s=20):
        """Return when it has said so on stderr."""
        wait_until(lambda: text in self.err or not self._runs(), within_s, f"it says {text!r}")
        assert text in self.err, f"left with {self.process.returncode}: {self.err[-3000:]}"

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, within_s=20):
        """Return its exit code."""
        wait_until(lambda: not self._runs(), within_s, f"it has left; said {self.err[-800:]}")
        return self.process.returncode

    def below(self):
        """Return the processes below it."""
        return living_below(self.process.pid)

    def end(self):
        below = self.below()
        if self._runs():
            self.process.kill()
            self.process.wait(10)
        for process in below:
            kill(process.pid)
            wait_until(lambda p=process: not is_alive(p.pid), what=f"{process.pid} is dead")
            collect(process.pid)

    def _runs(self):
        return self.process.poll() is None


@pytest.fixture(scope="session")
def commands():
    """What commands are forked from."""
    with Commands() as commands:
        yield commands


@pytest.fixture
def crewpool(tmp_path, commands):
    """The command `crewpool`."""
    command = Crewpool(tmp_path / "crewpool", commands)
    yield command
    command.end()


def permit(client, user):
    """Make a user of deploy/redis/users.acl, with the password `word`."""
    lines = (ROOT / "deploy" / "redis" / "users.acl").read_text("utf-8").splitlines()
    rules = next(line.split()[2:] for line in lines if line.startswith(f"user {user} "))
    client.execute_command("ACL", "SETUSER", user, *rules, "on", ">word")


def _read(terminal, give_up_at):
    ready, _, _ = select.select([terminal], [], [], max(0, give_up_at - time.monotonic()))
    assert ready, "the command on the terminal did not come to its end"
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end was closed: it is over
        return b""
