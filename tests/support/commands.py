"""Runs commands as forks of one process that has imported them all.

To start Python and import a command takes half a second of CPU, and the acceptance tests give
hundreds. A fork is a process of its own too: with its environment, folder, files and exit code.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.support.linux import die_with_pytest, kill

COMMAND = str(Path(sys.executable).with_name("crewpool"))


class Commands:
    """The process that is forked. A context manager, usable from any thread."""

    def __enter__(self):
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.commands", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
            )
        return self

    def __exit__(self, *_):
        self._ours.close()
        self._process.wait(10)

    def run(self, arguments, environment, folder, within_s):
        """Run a command to its end, with nothing on stdin; return exit code and texts."""
        near, far = socket.socketpair()
        with (
            near,
            tempfile.TemporaryFile("w+b") as out,
            tempfile.TemporaryFile("w+b") as err,
        ):
            asked = json.dumps([arguments, environment, str(folder)]).encode()
            with far:
                handed = [far.fileno(), out.fileno(), err.fileno()]
                socket.send_fds(self._ours, [b"."], handed)
            near.settimeout(within_s)
            near.sendall(len(asked).to_bytes(4, "big") + asked)
            pid = int.from_bytes(near.recv(4, socket.MSG_WAITALL), "big")
            try:
                status = near.recv(1)
            except TimeoutError:
                kill(pid)
                raise subprocess.TimeoutExpired([COMMAND, *arguments], within_s) from None
            texts = [_whole(out), _whole(err)]
        return subprocess.CompletedProcess(
            [COMMAND, *arguments], status[0] if status else -1, *texts
        )


def _whole(file):
    file.seek(0)
    return file.read().decode()


def _serve(asks):
    """Fork for each call, until pytest has gone."""
    import importlib  # noqa: PLC0415
    import signal  # noqa: PLC0415

    from supervisor.cli import app  # noqa: PLC0415

    for name in app.COMMANDS:
        importlib.import_module(f"supervisor.cli.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        word, handed, _, _ = socket.recv_fds(asks, 1, 3)
        if not word:
            return
        if os.fork() == 0:
            asks.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_pytest()
            _be(app.main, *handed)
        for fd in handed:
            os.close(fd)


def _be(main, call, out, err):
    """Be one command. Never returns."""
    status = 1
    with socket.socket(fileno=call) as caller:
        caller.sendall(os.getpid().to_bytes(4, "big"))
        size = int.from_bytes(caller.recv(4, socket.MSG_WAITALL), "big")
        arguments, environment, folder = json.loads(caller.recv(size, socket.MSG_WAITALL))
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        tempfile.tempdir = None
        for fd, file in ((1, out), (2, err)):
            os.dup2(file, fd)
            os.close(file)
        sys.argv = [COMMAND, *arguments]
        try:
            main()
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            caller.sendall(bytes([status]))
            os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
