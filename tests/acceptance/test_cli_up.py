"""`crewpool up`: a supervisor with all that it needs, and nothing left of it."""

import json
import re
import signal
import socket
from contextlib import closing

import pytest

from tests.support.waiting import wait_until


def url_of(running):
    """Return the address that it told."""
    running.wait_for(" started ")
    return re.search(r"Redis +(redis://127\.0\.0\.1:\d+/0)", running.err)[1]


@pytest.fixture
def up(crewpool):
    """Start it on a free port, ready for runs."""

    def start(*arguments, **environment):
        running = crewpool.start("up", *arguments, **{"REDIS_URL": None, **environment})
        running.wait_for("zygote_ready")
        return running

    return start


def test_a_run_from_another_terminal_completes_and_nothing_is_left_behind(crewpool, up):
    running = up("--redis-port", 0)
    below = running.below()

    url = url_of(running)
    submitted = crewpool("submit", "echoes", "--set", "text=from there", "--wait", REDIS_URL=url)
    running.signal(signal.SIGTERM)

    assert submitted.returncode == 0, submitted.stderr
    assert "from there" in submitted.stdout
    assert running.wait_exit() == 0
    wait_until(lambda: not any(p.is_running() for p in below), what="all its processes are gone")
    assert list(crewpool.tmp.iterdir()) == []


def test_it_says_that_the_offline_model_answers_and_is_none(up):
    running = up("--redis-port", 0)

    assert "offline: no provider's key was found" in running.err
    assert "It is no language model" in running.err
    assert any("model_server" in " ".join(p.cmdline()) for p in running.below())


def test_with_a_key_it_says_which_and_starts_no_offline_model(up):
    running = up("--redis-port", 0, GEMINI_API_KEY="a-key-of-somebody")

    assert "GEMINI_API_KEY is set" in running.err
    assert "a-key-of-somebody" not in running.err
    assert not any("model_server" in " ".join(p.cmdline()) for p in running.below())


def test_a_named_redis_is_used_instead_of_one_of_its_own(crewpool, redis_server, world):
    running = crewpool.start("up", REDIS_URL=redis_server.url, OPENAI_API_KEY="sk-not-used-here")
    running.wait_for("zygote_ready")

    assert f"{redis_server.url}  not our own: REDIS_URL is set" in running.err
    run_id = world.publish(plugin="echoes")
    assert wait_until(lambda: world.result(run_id))["status"] == "completed"


def test_options_of_the_own_server_are_refused_with_a_named_redis(crewpool, redis_server):
    refused = crewpool("up", "--data", "x", REDIS_URL=redis_server.url)

    assert refused.returncode == 2
    assert "REDIS_URL is set" in refused.stderr
    assert not (crewpool.folder / "x").exists()


def test_a_missing_plugin_folder_is_exit_code_2_before_anything_is_started(crewpool):
    refused = crewpool("up", REDIS_URL=None, PLUGIN_DIR="nowhere")

    assert refused.returncode == 2
    assert "PLUGIN_DIR" in refused.stderr
    assert list(crewpool.tmp.iterdir()) == []


def test_a_port_that_was_asked_for_and_is_taken_is_exit_code_2(crewpool):
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        refused = crewpool("up", "--redis-port", port, REDIS_URL=None)

    assert refused.returncode == 2
    assert f"Port {port} of 127.0.0.1 is taken" in refused.stderr


def test_with_a_data_folder_results_outlive_it(crewpool, up):
    first = up("--redis-port", 0, "--data", "kept", OPENAI_API_KEY="sk-not-used-here")
    asked = ("submit", "echoes", "--run-id", "r-kept", "--wait", "--json")
    before = crewpool(*asked, REDIS_URL=url_of(first))
    first.signal(signal.SIGINT)
    assert first.wait_exit() == 0

    second = up("--redis-port", 0, "--data", "kept", OPENAI_API_KEY="sk-not-used-here")
    after = crewpool(*asked, REDIS_URL=url_of(second))

    assert json.loads(before.stdout)["status"] == "completed"
    assert json.loads(after.stdout) == json.loads(before.stdout)
    assert "is known (completed): it is not published again" in after.stderr


def test_term_while_it_still_starts_leaves_nothing_behind(crewpool):
    running = crewpool.start("up", "--redis-port", 0, REDIS_URL=None)
    running.wait_for("Redis")
    running.signal(signal.SIGTERM)

    assert running.wait_exit() in (0, 128 + signal.SIGTERM)
    assert list(crewpool.tmp.iterdir()) == []
