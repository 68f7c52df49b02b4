"""`crewpool submit --wait`: how a run is followed, and what its end is shown as."""

import json
import re
import signal

import pytest

from tests.acceptance.conftest import permit
from tests.support.redis_world import REQUESTS
from tests.support.supervisors import ROOT
from tests.support.waiting import wait_until

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.mark.usefixtures("supervisor")
def test_with_wait_the_output_is_on_stdout_and_the_talk_on_stderr(crewpool, redis_server):
    waited = crewpool(
        *("submit", "echoes", "--set", "text=said by the crew", "--wait"),
        REDIS_URL=redis_server.url,
    )

    assert waited.returncode == 0
    assert waited.stdout.startswith("# Echo\n\nsaid by the crew\n")
    assert re.search(rf"run {UUID}\n", waited.stderr)
    assert re.search(r"completed · .*\.s[01]\n$", waited.stderr)
    assert "\x1b" not in waited.stdout + waited.stderr


@pytest.mark.usefixtures("supervisor")
def test_with_json_the_result_is_printed_as_it_was_published(crewpool, redis_server, world):
    waited = crewpool(
        *("submit", "returns", "--run-id", "r-json", "--set", 'value={"a": "ü"}'),
        *("--wait", "--json"),
        REDIS_URL=redis_server.url,
    )

    result = world.result("r-json")
    del result["entry"]
    assert waited.returncode == 0
    assert json.loads(waited.stdout) == result
    assert json.loads(result["output"]) == {"a": "ü"}


@pytest.mark.usefixtures("supervisor")
def test_a_failed_run_is_exit_code_1_with_the_error_on_stderr(crewpool, redis_server):
    failed = crewpool(
        *("submit", "raises", "--set", "text=no luck today", "--wait"), REDIS_URL=redis_server.url
    )

    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "no luck today" in failed.stderr
    assert "\nNext: " in failed.stderr


@pytest.mark.usefixtures("supervisor")
def test_no_result_in_time_is_exit_code_124_and_says_how_to_ask_again(
    crewpool, redis_server, world
):
    late = crewpool(
        *("submit", "sleeps", "--set", "seconds=6", "--run-id", "r-late"),
        *("--wait", "--timeout", "0.5"),
        REDIS_URL=redis_server.url,
    )

    assert late.returncode == 124
    assert "Run r-late has no result after 0.5s. It goes on." in late.stderr
    again = re.search(r"Next: crewpool (.*)\n", late.stderr)[1].split()
    asked = crewpool(*again, REDIS_URL=redis_server.url)
    assert asked.returncode == 0, asked.stderr
    assert "is known (running): it is not published again" in asked.stderr
    assert world.client.xlen(REQUESTS) == 1


@pytest.mark.usefixtures("supervisor")
def test_waiting_takes_nothing_from_the_applications_group(crewpool, redis_server, world):
    assert crewpool("submit", "echoes", "--wait", REDIS_URL=redis_server.url).returncode == 0

    (group,) = world.client.xinfo_groups("plugin:results")
    assert (group["name"], group["last-delivered-id"], group["pending"]) == ("go-workers", "0-0", 0)
    assert group["consumers"] == 0


def test_without_a_supervisor_it_says_that_nobody_is_alive(crewpool, redis_server):
    waited = crewpool("submit", "echoes", "--wait", "--timeout", 2, REDIS_URL=redis_server.url)

    assert waited.returncode == 124
    assert "pending · no supervisor is alive on this Redis" in waited.stderr


def test_an_outage_of_redis_is_said_once_and_sat_out(crewpool, own_server, start_supervisor):
    start_supervisor(own_server.url)
    waiting = crewpool.start(
        *("submit", "sleeps", "--set", "seconds=3", "--wait"), REDIS_URL=own_server.url
    )
    waiting.wait_for("running")
    own_server.stop()
    waiting.wait_for("is not reachable")
    own_server.start()

    assert waiting.wait_exit(30) == 0
    assert waiting.err.count("is not reachable") == 1
    assert waiting.err.count("Redis is back after") == 1


@pytest.mark.usefixtures("supervisor")
def test_ctrl_c_is_exit_code_130_and_the_run_goes_on(crewpool, redis_server, world):
    waiting = crewpool.start(
        *("submit", "sleeps", "--set", "seconds=2", "--run-id", "r-left", "--wait"),
        REDIS_URL=redis_server.url,
    )
    waiting.wait_for("running")
    waiting.signal(signal.SIGINT)

    assert waiting.wait_exit() == 130
    assert "Stopped waiting. Run r-left goes on." in waiting.err
    assert "Next: crewpool submit sleeps --run-id r-left --wait" in waiting.err
    assert "Traceback" not in waiting.err
    assert wait_until(lambda: world.result("r-left"))["status"] == "completed"


@pytest.mark.usefixtures("supervisor")
def test_a_result_that_was_cut_off_its_stream_is_said_to_be_gone(crewpool, redis_server, world):
    asked = ("submit", "echoes", "--run-id", "r-gone", "--wait")
    assert crewpool(*asked, REDIS_URL=redis_server.url).returncode == 0
    world.client.xtrim("plugin:results", maxlen=0)

    gone = crewpool(*asked, REDIS_URL=redis_server.url)

    assert gone.returncode == 1
    assert "Run r-gone completed. Its result does not stand in plugin:results" in gone.stderr


def test_the_applications_user_may_submit_and_wait_without_progress(
    crewpool, own_server, start_supervisor
):
    start_supervisor(own_server.url)
    permit(own_server.client, "application")
    url = own_server.url.replace("//", "//application:word@")

    waited = crewpool(
        *("submit", "sleeps", "--set", "seconds=1", "--run-id", "r-app", "--wait"), REDIS_URL=url
    )

    assert waited.returncode == 0, waited.stderr
    assert "No progress is shown: Redis refused HGETALL crewpool:run:r-app" in waited.stderr


@pytest.mark.usefixtures("supervisor")
def test_a_terminal_shows_one_live_line_and_renders_the_output(crewpool, redis_server):
    code, drawn = crewpool.on_terminal(
        *("submit", "sleeps", "--set", "seconds=1", "--wait"), REDIS_URL=redis_server.url
    )

    assert code == 0
    assert re.search(r"running.* · [01]s of 300s", drawn)
    assert "\x1b[2K" in drawn, "the line is drawn anew"


@pytest.mark.usefixtures("supervisor")
def test_control_characters_of_a_crew_do_not_reach_the_terminal(crewpool, redis_server):
    code, drawn = crewpool.on_terminal(
        *("submit", "echoes", "--set", "text=\x1b]0;owned\x07[red]not markup[/red]", "--wait"),
        REDIS_URL=redis_server.url,
    )

    assert code == 0
    assert "\x1b]0;" not in drawn
    assert "[red]not markup[/red]" in drawn


def test_a_digest_is_made_of_the_headlines_of_the_feeds(crewpool):
    up = crewpool.start(
        *("up", "--redis-port", 0),
        REDIS_URL=None,
        CREWPOOL_PRELOAD="crewai",
        PLUGIN_DIR=ROOT / "plugins",
    )
    up.wait_for("zygote_ready", within_s=60)
    url = re.search(r"Redis +(redis://\S+)", up.err)[1]

    digest = crewpool(
        *("submit", "daily-news-digest", "--set", 'topics=["technology"]', "--wait"),
        REDIS_URL=url,
    )

    assert digest.returncode == 0, digest.stderr
    assert digest.stdout.startswith("# Daily news digest: technology\n")
    assert "Northport's ferries switch to sodium batteries" in digest.stdout
    assert "not written by a language model" in digest.stdout
    assert re.search(r"completed · [\d.]+s · [\d,]+ tokens", digest.stderr)
