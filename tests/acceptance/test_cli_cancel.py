"""`crewpool cancel`: what the run was, what became of it, and what cannot be cancelled."""

import json
import time

import pytest

from tests.acceptance.conftest import NOWHERE, permit
from tests.support.redis_world import GROUP, REQUESTS
from tests.support.waiting import wait_until


def is_running(world, run_id):
    return world.record(run_id).get("state") == "running"


def cancelled_result(world, run_id):
    result = world.result(run_id)
    return result and (result["status"], result["error"])


@pytest.mark.usefixtures("supervisor")
def test_a_running_one_is_killed_and_its_result_is_out(crewpool, redis_server, world):
    world.publish("r-long", "spins")
    wait_until(lambda: is_running(world, "r-long"))

    said = crewpool("cancel", "r-long", REDIS_URL=redis_server.url)

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("Run r-long was running on ")
    assert said.stdout.endswith(": killed, and its result is out.\n")
    assert cancelled_result(world, "r-long") == ("failed", "cancelled")
    world.assert_nothing_pending()


@pytest.mark.parametrize(
    ("options", "was"),
    [((), "queued"), (("--in", "1h"), "delayed"), (("--priority", "low"), "queued")],
)
def test_one_that_waits_gets_its_result_at_once(crewpool, redis_server, world, options, was):
    url = redis_server.url
    crewpool("submit", "echoes", "--run-id", "r-1", *options, REDIS_URL=url)

    said = crewpool("cancel", "r-1", REDIS_URL=url)
    again = crewpool("cancel", "r-1", REDIS_URL=url)

    assert said.returncode == 0, said.stderr
    assert said.stdout == f"Run r-1 was {was}: cancelled, and its result is out.\n"
    assert cancelled_result(world, "r-1") == ("failed", "cancelled")
    assert again.returncode == 1
    assert "Run r-1 has ended (failed): there is nothing to cancel." in again.stderr
    assert len(world.results("r-1")) == 1


def test_one_of_another_program_is_cancelled_where_nobody_took_it(crewpool, redis_server, world):
    world.publish("r-foreign")

    said = crewpool("cancel", "r-foreign", "--json", REDIS_URL=redis_server.url)

    assert json.loads(said.stdout) == {
        "run_id": "r-foreign",
        "was": "queued",
        "on": "",
        "status": "failed",
        "error": "cancelled",
        "cancelled": True,
    }


def test_a_parked_one_is_cancelled(crewpool, redis_server, world, supervisor):
    assert supervisor
    url = redis_server.url
    crewpool("plugins", "pause", "echoes", REDIS_URL=url)
    world.publish("r-parked")
    wait_until(lambda: world.record("r-parked").get("state") == "parked")

    said = crewpool("cancel", "r-parked", REDIS_URL=url)

    assert said.stdout == "Run r-parked was parked: cancelled, and its result is out.\n"


def test_what_is_not_known_is_exit_code_1_and_changes_nothing(crewpool, redis_server, world):
    said = crewpool("cancel", "r-\x1b[2Jnone", REDIS_URL=redis_server.url)

    assert said.returncode == 1
    assert "Run r-[2Jnone is not known here" in said.stderr
    assert "Next: crewpool runs list" in said.stderr
    assert world.everything() == ""


def test_one_whose_supervisor_hears_nothing_is_marked_and_said_to_be(crewpool, redis_server, world):
    world.make_groups()
    entry_id = world.client.xadd(REQUESTS, {"payload": world.payload("r-stuck")})
    world.client.xreadgroup(GROUP, "vm-dead.s0", {REQUESTS: ">"})
    held = {"stream": REQUESTS, "id": entry_id, "consumer": "vm-dead.s0", "plugin": "echoes"}
    world.client.hset("crewpool:holding", "r-stuck", json.dumps({**held, "at_ms": 1}))

    asked = time.monotonic()
    said = crewpool("cancel", "r-stuck", "--timeout", 0.5, REDIS_URL=redis_server.url)

    assert said.returncode == 124
    assert time.monotonic() - asked < 10
    assert "running on vm-dead.s0, is marked as cancelled, and has no result" in said.stderr
    assert "Next: crewpool explain r-stuck" in said.stderr
    assert world.client.zscore("crewpool:cancelled", "r-stuck")


@pytest.mark.parametrize(
    "arguments", [[], ["r-1", "r-2"], ["r-1", "--timeout", "-1"], ["r-1", "--timeout", "soon"]]
)
def test_what_cannot_be_asked_is_exit_code_2(crewpool, redis_server, world, arguments):
    world.publish("r-1")

    refused = crewpool("cancel", *arguments, REDIS_URL=redis_server.url)

    assert refused.returncode == 2
    assert world.results() == []


def test_when_redis_is_away_the_usual_sentence_is_said(crewpool):
    refused = crewpool("cancel", "r-1", REDIS_URL=NOWHERE)

    assert refused.returncode == 1
    assert "is not reachable" in refused.stderr


def test_whoever_may_not_is_told_so(crewpool, own_server):
    permit(own_server.client, "application")
    own_server.client.xadd(REQUESTS, {"payload": '{"plugin_run_id":"r-1"}'})

    refused = crewpool(
        "cancel", "r-1", REDIS_URL=own_server.url.replace("//", "//application:word@")
    )

    assert refused.returncode == 1
    assert "Redis refused" in refused.stderr
    assert "Traceback" not in refused.stderr
