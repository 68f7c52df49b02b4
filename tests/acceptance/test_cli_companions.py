"""What `crewpool up` starts beside the supervisor: it is kept alive, and never outlives it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing

import psutil
import pytest

from tests.support.linux import is_alive
from tests.support.supervisors import ROOT
from tests.support.waiting import wait_until

NO_MODEL = {"REDIS_URL": None, "OPENAI_API_KEY": "sk-not-used-here"}


@pytest.fixture
def up(crewpool):
    """Start it with companions, ready for runs."""

    def up(*options):
        running = crewpool.start(
            *("up", "--redis-port", 0, "--data", "data", *options),
            **NO_MODEL,
            CREWPOOL_GATEWAY_PORT=0,
            PASSWORD_OF_A_DATABASE="hush",
        )
        running.wait_for("zygote_ready")
        return running

    return up


def process(running, words):
    """The one process below it whose command line has these words; None without one."""
    for found in running.below():
        try:
            if words in " ".join(found.cmdline()):
                return found
        except psutil.NoSuchProcess:
            continue
    return None


def replaced(running, words):
    """Kill it with -9, and return the process that comes instead."""
    killed = process(running, words)
    os.kill(killed.pid, signal.SIGKILL)

    def successor():
        found = process(running, words)
        return found if found is not None and found.pid != killed.pid else None

    return wait_until(successor, what=f"another {words}")


def ask(url, body=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_companions_that_are_killed_come_back_and_do_not_outlive_a_killed_supervisor(up):
    up = up("--gateway", "--records")
    base = re.search(r"Gateway +(http://127\.0\.0\.1:\d+)/openapi\.json", up.err)[1]
    for words in ("valkey-server", "results consume", "cli gateway"):
        replaced(up, words)

    # Who asks before it listens again waits in the backlog.
    asked = {"plugin_name": "echoes", "user_id": 7, "settings": {"text": "after all"}}
    run = ask(f"{base}/v1/runs", json.dumps(asked).encode())["plugin_run_id"]
    wait_until(
        lambda: ask(f"{base}/v1/runs/{run}")["status"] == "completed", 20, "the run has completed"
    )
    died = r'companion_died name="?([\w ]+?)"? pid=\d+ (?:how=SIGKILL )?again_in_s=0'
    assert re.findall(died, up.err) == ["redis", "results consume", "gateway"]
    assert "strays_killed" not in up.err
    # Crews may be of the same user, and look.
    assert "hush" not in str(process(up, "valkey-server").environ())

    below = up.below()
    up.signal(signal.SIGKILL)

    wait_until(lambda: not any(is_alive(p.pid) for p in below), 5, "all its processes are gone")


def test_a_second_term_ends_companions_with_the_supervisor(crewpool, up):
    up = up("--records")
    below = up.below()
    url = re.search(r"Redis +(redis://127\.0\.0\.1:\d+/0)", up.err)[1]
    crewpool("submit", "sleeps", "--set", "seconds=60", REDIS_URL=url)
    wait_until(lambda: "run_started" in up.err, what="a run is on")

    up.signal(signal.SIGTERM)
    wait_until(lambda: "phase=draining" in up.err, what="it drains")
    up.signal(signal.SIGTERM)

    assert up.wait_exit() == 4
    assert "results_stopped" in up.err
    wait_until(lambda: not any(is_alive(p.pid) for p in below), what="all its processes are gone")


def test_a_port_that_is_taken_is_told_before_the_supervisor_starts(crewpool):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        refused = crewpool("up", "--records", **NO_MODEL, CREWPOOL_RECORDS_HTTP_PORT=port)

    assert refused.returncode == 2
    assert f"CREWPOOL_RECORDS_HTTP_PORT: cannot listen on port {port}" in refused.stderr
    assert " starting " not in refused.stderr


def test_a_companion_that_cannot_start_is_told_before_the_supervisor_starts(crewpool):
    # Seen by no check of ours: the program's own import fails.
    (crewpool.folder / "broken").mkdir()
    (crewpool.folder / "broken" / "cronsim.py").write_text("raise RuntimeError('no luck today')\n")
    refused = crewpool("up", "--records", **NO_MODEL, PYTHONPATH=crewpool.folder / "broken")

    assert refused.returncode == 1
    assert "no luck today" in refused.stderr
    assert "`crewpool results consume` ended (exit 70)" in refused.stderr
    assert " starting " not in refused.stderr


def test_programs_of_the_application_are_closed_to_crews_before_they_read_any_secret(crewpool):
    code = """if True:
        import ctypes
        from supervisor.cli import gateway, results
        from supervisor.errors import SettingsWrong
        GET_DUMPABLE, SET_DUMPABLE, libc = 3, 4, ctypes.CDLL(None)
        for program in (gateway.gateway, results.consume):
            libc.prctl(SET_DUMPABLE, 1, 0, 0, 0)
            try:
                program()
            except SettingsWrong:
                print(libc.prctl(GET_DUMPABLE, 0, 0, 0, 0))
    """
    asked = subprocess.run(
        [sys.executable, "-c", code],
        env=crewpool.environment({"CREWPOOL_WORKERS": "nonsense", "PYTHONPATH": ROOT}),
        capture_output=True,
        text=True,
        check=True,
    )

    assert asked.stdout.split() == ["0", "0"]
