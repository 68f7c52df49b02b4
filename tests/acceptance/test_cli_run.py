"""`crewpool run` and what every command has in common."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from tests.acceptance.conftest import NOWHERE


@pytest.fixture
def taken_port():
    """A port that another program listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def test_all_settings_that_are_wrong_are_told_at_once_and_the_exit_code_is_2(crewpool):
    refused = crewpool(
        "run", CREWPOOL_WORKERS=0, CREWPOOL_LOG_LEVEL="LOUD", CREW_TIMEOUT_SECONDS=-1
    )

    assert refused.returncode == 2
    for name in ("CREWPOOL_WORKERS", "CREWPOOL_LOG_LEVEL", "CREW_TIMEOUT_SECONDS"):
        assert name in refused.stderr
    assert refused.stderr.endswith("Next: crewpool doctor\n")
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""


def test_a_port_that_is_taken_is_exit_code_2_with_the_cure(crewpool, taken_port):
    refused = crewpool("run", CREWPOOL_HTTP_PORT=taken_port)

    assert refused.returncode == 2
    assert f"cannot listen on port {taken_port} of 127.0.0.1" in refused.stderr
    assert "choose another, or 0 for any free one" in refused.stderr


def test_a_missing_plugin_folder_and_a_missing_storage_folder_are_told_together(crewpool):
    refused = crewpool("run", PLUGIN_DIR="nowhere", CREWPOOL_STORAGE_DIR="/nowhere")

    assert refused.returncode == 2
    assert f"PLUGIN_DIR: {crewpool.folder / 'nowhere'} does not exist" in refused.stderr
    assert "CREWPOOL_STORAGE_DIR: /nowhere is no folder" in refused.stderr


@pytest.mark.parametrize("command", [["run"], ["workers"], ["submit", "echoes"]])
@pytest.mark.parametrize("url", ["redis://:se/cret@host/0", "redis://host?secret=1"])
def test_a_url_that_is_none_is_exit_code_2_and_is_not_quoted(crewpool, command, url):
    refused = crewpool(*command, REDIS_URL=url)

    assert refused.returncode == 2
    assert "REDIS_URL: is no address" in refused.stderr
    assert "cret" not in refused.stderr


def test_a_supervisor_says_what_a_stranger_needs_and_leaves_with_0_on_term(crewpool, redis_server):
    url = redis_server.url.replace("//", "//default:hidden-word@")
    redis_server.client.config_set("requirepass", "hidden-word")
    try:
        running = crewpool.start("run", REDIS_URL=url)
        running.wait_for("zygote_ready")
        running.signal(signal.SIGTERM)

        assert running.wait_exit() == 0
    finally:
        redis_server.client.config_set("requirepass", "")
    said = running.err
    assert re.search(rf" starting version=\S+ pid={running.process.pid} redis=", said)
    assert re.search(r' signals TERM="drain up to 300s', said)
    assert re.search(r" started .* workers=2 plugins=asks,.* http=127\.0\.0\.1:\d+\b", said)
    assert "hidden-word" not in said
    assert running.out == ""


def test_a_misspelt_variable_is_pointed_at(crewpool, redis_server):
    running = crewpool.start("run", REDIS_URL=redis_server.url, CREWPOOL_WROKERS=3)
    running.wait_for(" started ")
    running.signal(signal.SIGTERM)

    assert running.wait_exit() == 0
    assert " unknown_variable name=CREWPOOL_WROKERS " in running.err


def test_help_tells_the_exit_codes_and_shows_use(crewpool):
    told = crewpool("run", "--help").stdout

    for line in ("0   clean", "2   bad settings", "3   workers cannot boot", "70  a bug"):
        assert line in told
    assert "\n    crewpool run\n" in told


@pytest.mark.parametrize(
    "command",
    [
        *(["run"], ["up"], ["submit"], ["workers"], ["plugins"], ["plugins", "list"]),
        *(["config"], ["config", "show"], ["doctor"], ["health"], ["demo"], []),
    ],
    ids=" ".join,
)
def test_every_command_has_help_that_fits_100_columns(crewpool, command):
    asked = crewpool(*command, "--help")

    assert asked.returncode == 0
    assert max(len(line) for line in asked.stdout.splitlines()) <= 100
    assert asked.stderr == ""


def test_the_version_is_told_by_the_command_and_by_the_module(crewpool):
    command = crewpool("--version")
    module = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.cli", "--version"],
        env={"PATH": os.environ["PATH"]},
        cwd=crewpool.folder,
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.fullmatch(r"crewpool \d+\.\d+\.\d+\S*\n", command.stdout)
    assert command.stdout == module.stdout


def test_a_command_that_is_misspelt_gets_a_hint(crewpool):
    refused = crewpool("wokers")

    assert refused.returncode == 2
    assert "Did you mean 'workers'?" in refused.stderr


def test_redis_that_is_away_is_a_sentence_and_no_traceback(crewpool):
    refused = crewpool("workers", REDIS_URL=NOWHERE)

    assert refused.returncode == 1
    assert refused.stderr.startswith("crewpool: Redis at 127.0.0.1:1 is not reachable")
    assert "Next: crewpool doctor" in refused.stderr
    assert "Traceback" not in refused.stderr
