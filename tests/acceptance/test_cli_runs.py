"""`crewpool runs`: which runs there are, and all that is known about one."""

import json
import re

import pytest

from tests.acceptance.conftest import NOWHERE, permit
from tests.support.waiting import wait_until

HOSTILE = "\x1b]0;owned\x07 [red]x[/red]"


def add_record(world, run_id, at, **facts):
    """Leave the record of a run, last changed at that time."""
    world.client.hset(f"crewpool:run:{run_id}", mapping={"state": "pending", **facts})
    world.client.zadd("crewpool:runs", {run_id: at})


def test_runs_are_listed_the_last_changed_first_and_filtered(crewpool, redis_server, world):
    now = world.client.time()[0]
    for number in range(120):
        state, plugin = ("failed", "running")[number % 2], ("a", "b", "c")[number % 3]
        add_record(world, f"r-{number}", now - 1000 + number, state=state, plugin=plugin)
    world.client.zadd("crewpool:runs", {"r-run-out": now})

    def runs(*options):
        asked = crewpool("runs", "list", *options, "--json", REDIS_URL=redis_server.url)
        assert asked.returncode == 0, asked.stderr
        return [run["run_id"] for run in json.loads(asked.stdout)], asked.stderr

    newest, told = runs("--limit", 3)
    assert newest == ["r-119", "r-118", "r-117"]
    assert "There are more than 3." in told
    assert len(runs()[0]) == 20
    assert runs("--limit", 120) == ([f"r-{n}" for n in reversed(range(120))], "")
    assert runs("--state", "failed", "--limit", 2)[0] == ["r-118", "r-116"]
    assert runs("--state", "running", "--plugin", "b", "--limit", 2)[0] == ["r-115", "r-109"]
    assert runs("--plugin", "none")[0] == []


def test_a_run_is_listed_and_shown_with_its_attempts_and_its_result(
    crewpool, start_supervisor, redis_server, world, tmp_path
):
    start_supervisor(redis_server.url)
    settings = {"fails": ["crash", "exception"], "memory": str(tmp_path / "memory")}
    world.publish("r-flaky", "flaky", settings | {"_key": "sk-not-to-be-seen"})
    wait_until(lambda: world.result("r-flaky"), within_s=20)
    url = redis_server.url

    listed = crewpool("runs", "list", REDIS_URL=url).stdout
    shown = crewpool("runs", "show", "r-flaky", REDIS_URL=url)
    data = json.loads(crewpool("runs", "show", "r-flaky", "--json", REDIS_URL=url).stdout)

    assert re.search(r"^r-flaky +completed +flaky +3 +\ds ago +\S+\.s[01]", listed, re.MULTILINE)
    assert shown.returncode == 0
    assert re.search(r"^state +completed$", shown.stdout, re.MULTILINE)
    assert re.search(r"^started_at +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", shown.stdout, re.MULTILINE)
    attempts = re.findall(r"^ +(\d) +20.*? +[\d.]+ +(\w+) +", shown.stdout, re.MULTILINE)
    assert attempts == [("1", "crash"), ("2", "exception"), ("3", "completed")]
    assert re.search(r"^result +completed$", shown.stdout, re.MULTILINE)
    assert [one["cause"] for one in data["attempts"]] == ["crash", "exception", "completed"]
    assert re.search(r"^ +3 +20.* s[01] +[\d.]+ +\d+ MB *$", shown.stdout, re.MULTILINE)
    assert all(one["max_rss_bytes"] > 10**7 for one in data["attempts"])
    assert data["result"]["status"] == "completed"
    assert data["record"]["plugin"] == "flaky"
    assert "sk-not-to-be-seen" not in listed + shown.stdout + json.dumps(data)


@pytest.mark.usefixtures("supervisor")
def test_a_running_one_of_another_program_is_listed(crewpool, redis_server, world):
    world.publish("r-on", "sleeps", {"seconds": 30})
    wait_until(lambda: world.record("r-on").get("state") == "running")

    (run,) = json.loads(
        crewpool("runs", "list", "--state", "running", "--json", REDIS_URL=redis_server.url).stdout
    )

    assert (run["run_id"], run["state"], run["plugin"]) == ("r-on", "running", "sleeps")


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "parked"),
        ({"held": True}, "running"),
        ({"done": True, "cause": "completed"}, "completed"),
        ({"done": True, "cause": "crash", "held": True}, "failed"),
    ],
)
def test_a_state_that_was_noted_late_is_put_right(crewpool, redis_server, world, more, state):
    add_record(world, "r-1", 1, state="parked", cause=more.get("cause", ""))
    if "held" in more:
        world.client.hset("crewpool:holding", "r-1", "{}")
    if "done" in more:
        world.client.set("crewpool:done:r-1", "1-1")
    url = redis_server.url

    listed = crewpool("runs", "list", "--state", state, "--json", REDIS_URL=url)
    shown = crewpool("runs", "show", "r-1", "--json", REDIS_URL=url)

    assert [run["state"] for run in json.loads(listed.stdout)] == [state]
    assert json.loads(shown.stdout)["record"]["state"] == state


def test_a_result_outlives_the_record_and_the_other_way_round(crewpool, redis_server, world):
    result = {"plugin_run_id": "r-1", "status": "failed", "output": "", "error": "no luck"}
    world.client.xadd("plugin:results", {"payload": json.dumps(result)})
    add_record(world, "r-2", 1, state="completed")
    url = redis_server.url

    only_result = crewpool("runs", "show", "r-1", REDIS_URL=url)
    only_record = crewpool("runs", "show", "r-2", REDIS_URL=url)

    assert only_result.returncode == only_record.returncode == 0
    assert re.search(r"^told +no luck$", only_result.stdout, re.MULTILINE)
    assert "It has no result that could be found." in only_record.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["list", "--state", "dead"], 2, "'dead' is not one of"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["list", "--limit", "many"], 2, "--limit"),
        (["show"], 2, "Missing argument"),
        (["show", "r-\x1b[2Jnone"], 1, "Run r-[2Jnone has no record and no result here."),
    ],
)
def test_what_cannot_be_asked_is_a_clear_error(
    crewpool, redis_server, world, arguments, code, told
):
    refused = crewpool("runs", *arguments, REDIS_URL=redis_server.url)

    assert refused.returncode == code
    assert told in refused.stderr
    assert world.everything() == ""


def test_nothing_to_list_is_no_failure(crewpool, redis_server):
    url = redis_server.url

    assert "No run has a record." in crewpool("runs", "list", REDIS_URL=url).stderr
    assert "No run fits." in crewpool("runs", "list", "--plugin", "x", REDIS_URL=url).stderr


@pytest.mark.parametrize("arguments", [["list"], ["show", "r-1"]])
def test_without_redis_or_permission_the_usual_sentence_is_said(crewpool, own_server, arguments):
    permit(own_server.client, "application")
    url = own_server.url.replace("//", "//application:word@")

    away = crewpool("runs", *arguments, REDIS_URL=NOWHERE)
    denied = crewpool("runs", *arguments, REDIS_URL=url)

    assert away.returncode == denied.returncode == 1
    assert "is not reachable" in away.stderr
    assert "Redis refused" in denied.stderr


def test_what_hostile_hands_wrote_does_not_steer_a_terminal(crewpool, redis_server, world):
    attempt = json.dumps(dict.fromkeys(("cause", "error", "host", "slot", "started_at"), HOSTILE))
    facts = dict.fromkeys(("state", "plugin", "priority", "worker", "error", "ended_at"), HOSTILE)
    add_record(world, HOSTILE, 1, **facts, attempt_1=attempt, attempt_2="[", started_at="1e999")
    payload = {
        "plugin_run_id": HOSTILE,
        "status": HOSTILE,
        "error": HOSTILE,
        "meta": {"x": HOSTILE},
    }
    world.client.xadd("plugin:results", {"payload": json.dumps(payload)})

    for arguments in (["list"], ["show", HOSTILE]):
        _, drawn = crewpool.on_terminal("runs", *arguments, columns=200, REDIS_URL=redis_server.url)
        assert "\x1b]0;" not in drawn
        assert "\x07" not in drawn
        assert "Traceback" not in drawn
        assert "[red]x[/red]" in drawn
