"""The embedded server as a process: it starts, answers, keeps its data, and dies with us."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from supervisor.embedded import server as server_module
from supervisor.embedded.children import Child
from supervisor.embedded.server import (
    DataFolderInUse,
    EmbeddedServer,
    NoServerProgram,
    ServerFailed,
    ask,
    find_programs,
)
from tests.support.waiting import wait_until


def is_gone(pid):
    """A zombie counts: it is for the init process of the machine to collect, at its leisure."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def setting(server, name):
    return ask(server.port, f"CONFIG GET {name}").split("\r\n")[4]


def offer_first(monkeypatch, port, times):
    """Let the search for a free port return this one that many times first."""
    ports, free_port = [port] * times, server_module.free_port

    def first_port():
        return ports.pop() if ports else free_port()

    monkeypatch.setattr(server_module, "free_port", first_port)
    return ports


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The place of temporary folders, so that a test sees its own only."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(params=find_programs(), ids=lambda path: path.name)
def program(request):
    return request.param


def test_it_answers_on_the_loopback_only_and_leaves_nothing_behind(program, folder):
    with EmbeddedServer(programs=[program]) as server:
        assert ask(server.port, "PING") == "+PONG\r\n"
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert setting(server, "bind") == "127.0.0.1"
        assert setting(server, "protected-mode") == "yes"
        assert setting(server, "save") == ""
        assert setting(server, "appendonly") == "no"
        assert setting(server, "maxmemory-policy") == "noeviction"
        assert len(list(folder.iterdir())) == 1
        pid = server.pid

    assert is_gone(pid)
    assert not list(folder.iterdir())


def test_a_given_folder_keeps_the_data(program, folder):
    data = folder / "a folder" / "data"
    with EmbeddedServer(data, [program]) as server:
        assert setting(server, "appendonly") == "yes"
        assert setting(server, "appendfsync") == "everysec"
        assert ask(server.port, "SET a kept") == "+OK\r\n"

    with EmbeddedServer(data, [program]) as server:
        assert ask(server.port, "GET a") == "$4\r\nkept\r\n"
    assert (data / "server.log").stat().st_size > 0


def test_two_servers_do_not_share_a_folder(folder):
    with EmbeddedServer(folder / "data"), pytest.raises(DataFolderInUse, match="another crewpool"):
        EmbeddedServer(folder / "data").start()


def test_a_port_that_somebody_took_is_exchanged_for_another(program, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], taken.getsockname()[1]]
        free_port = server_module.free_port
        monkeypatch.setattr(
            server_module, "free_port", lambda: (ports and ports.pop()) or free_port()
        )

        with EmbeddedServer(programs=[program]) as server:
            assert not ports
            assert ask(server.port, "PING") == "+PONG\r\n"


def test_a_foreign_server_on_the_port_is_not_taken_for_ours(monkeypatch):
    with EmbeddedServer() as other:
        ports = [other.port]
        free_port = server_module.free_port
        monkeypatch.setattr(
            server_module, "free_port", lambda: (ports and ports.pop()) or free_port()
        )

        with EmbeddedServer() as server:
            assert server.port != other.port


def test_a_program_that_fails_is_followed_by_the_next(folder):
    with EmbeddedServer(programs=[Path("/bin/false"), folder / "none", *find_programs()]) as server:
        assert server.is_alive()


def test_a_failed_start_shows_the_end_of_the_log_and_leaves_nothing(folder):
    program = folder / "broken-server"
    program.write_text("#!/bin/sh\necho 'no luck today'\nexit 1\n")
    program.chmod(0o755)

    with pytest.raises(ServerFailed, match="no luck today"):
        EmbeddedServer(programs=[program]).start()
    assert list(folder.iterdir()) == [program]


def test_without_any_program_the_cure_is_named():
    with pytest.raises(NoServerProgram, match=r"pip install 'crewpool\[embedded\]'"):
        EmbeddedServer(programs=[]).start()


def test_it_dies_with_a_parent_that_is_killed_and_the_next_one_tidies_up(program, folder):
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from supervisor.embedded.server import EmbeddedServer\n"
        "s = EmbeddedServer(programs=[Path(sys.argv[1])]); s.start(); print(s.pid, flush=True)\n"
        "signal.pause()"
    )
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", code, program], stdout=subprocess.PIPE, env=environment
    ) as parent:
        pid = int(parent.stdout.readline())
        (left,) = folder.iterdir()
        parent.send_signal(signal.SIGKILL)

    wait_until(lambda: is_gone(pid), within_s=1, what="the server is gone")
    an_hour_ago = time.time() - 3600
    os.utime(left, (an_hour_ago, an_hour_ago))

    def is_tidy():
        with EmbeddedServer(programs=[program]):
            return not left.exists()

    # The last thread of the dead server may hold the lock a moment longer.
    wait_until(is_tidy, what="the folder of the dead server is gone")


def test_the_folder_of_a_living_server_is_not_tidied_up(folder):
    with EmbeddedServer():
        (living,) = folder.iterdir()
        os.utime(living, (0, 0))
        with EmbeddedServer():
            assert living.exists()


def test_ctrl_c_in_the_terminal_does_not_reach_it():
    with EmbeddedServer() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)


def test_a_child_that_somebody_else_reaped_counts_as_gone(tmp_path):
    with (tmp_path / "log").open("a+b") as log:
        child = Child(["sleep", "60"], output=log)
        assert child.is_alive()
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)

        assert not child.is_alive()
        child.stop(within_s=1)
        child.stop(within_s=1)
        assert not child.is_alive()


def test_a_child_that_ignores_term_is_killed(tmp_path):
    with (tmp_path / "log").open("a+b") as log:
        code = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
        child = Child(["sh", "-c", code], output=log)
        wait_until((tmp_path / "log").read_text, what="it ignores TERM")
        child.stop(within_s=0.1)

    assert is_gone(child.pid)


def test_a_child_gets_no_input_and_no_files_of_ours(tmp_path):
    with (tmp_path / "log").open("a+b") as log, socket.socket() as ours:
        os.set_inheritable(ours.fileno(), True)
        code = "import os,sys; print(sys.stdin.read() == '', os.listdir('/proc/self/fd'))"
        child = Child([sys.executable, "-c", code], output=log)
        wait_until(lambda: not child.is_alive(), what="it has ended")
        child.stop(within_s=1)

        # One more than 0, 1 and 2: the listing itself.
        assert (tmp_path / "log").read_text() == "True ['0', '1', '2', '3']\n"
