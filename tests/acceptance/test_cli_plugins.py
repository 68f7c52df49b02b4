"""`crewpool plugins list | pause | resume`: what holds for all hosts, beside what stands here."""

import json
import re
import time

import pytest

from tests.acceptance.conftest import NOWHERE, permit
from tests.support.plugins import write_plugin
from tests.support.supervisors import DRILLS, ROOT
from tests.support.waiting import wait_until


@pytest.fixture
def listed(crewpool, redis_server):
    """Return what is listed of one plugin, for programs and as a line for people."""

    def listed(name):
        data = json.loads(crewpool("plugins", "list", "--json", REDIS_URL=redis_server.url).stdout)
        text = crewpool("plugins", "list", REDIS_URL=redis_server.url)
        line = next(row for row in text.stdout.splitlines() if row.startswith(f"{name} "))
        return next(p for p in data["plugins"] if p["name"] == name), line, text.stderr

    return listed


def test_a_paused_plugins_runs_wait_and_others_go_on(
    crewpool, redis_server, supervisor, world, listed
):
    assert supervisor
    url = redis_server.url
    paused = crewpool("plugins", "pause", "echoes", "--reason", "a bad night", REDIS_URL=url)
    assert (paused.returncode, paused.stdout) == (0, "Plugin echoes is paused: its runs wait.\n")

    world.publish("r-waits")
    world.publish("r-goes", "prints")
    wait_until(lambda: world.result("r-goes"))
    wait_until(lambda: world.record("r-waits").get("state") == "parked")

    data, line, told = listed("echoes")
    assert (data["state"], data["reason"], data["runs_parked"]) == ("paused", "a bad night", 1)
    assert data["by"].count("@") == 1
    assert data["since"] == pytest.approx(time.time(), abs=60)
    assert re.match(r"echoes +paused +0 +1 +300s ", line)
    assert re.search(r"echoes is paused by \S+@\S+ since 20.*: a bad night", told)

    resumed = crewpool("plugins", "resume", "echoes", REDIS_URL=url)
    assert (resumed.returncode, resumed.stdout) == (
        *(0, "Plugin echoes was paused: its runs start again.\n"),
    )
    assert wait_until(lambda: world.result("r-waits"))["status"] == "completed"
    assert listed("echoes")[0]["state"] == "running"


def test_already_so_is_said_and_changes_nothing(crewpool, redis_server, world):
    url = redis_server.url
    resumed = crewpool("plugins", "resume", "echoes", REDIS_URL=url)
    crewpool("plugins", "pause", "echoes", "--reason", "first", REDIS_URL=url)
    before = world.everything()
    paused = crewpool("plugins", "pause", "echoes", "--reason", "second", REDIS_URL=url)

    assert (resumed.returncode, resumed.stdout) == (
        *(0, "Plugin echoes is not paused; nothing was changed.\n"),
    )
    assert paused.returncode == 0
    assert re.fullmatch(
        r"Plugin echoes is paused by \S+ already; nothing was changed.\n", paused.stdout
    )
    assert world.everything() == before


def test_a_plugin_that_crashed_is_listed_in_quarantine_and_can_be_resumed(
    crewpool, redis_server, start_supervisor, world, listed
):
    start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_QUARANTINE_CRASHES=2, CREWPOOL_MAX_ATTEMPTS=1)
    for number in range(3):
        world.publish(f"r-{number}", "crashes", {"how": "kill"})
    wait_until(lambda: len(world.results()) >= 2 and listed("crashes")[0]["runs_parked"], 30)

    data, line, told = listed("crashes")
    assert (data["state"], data["crashes"]) == ("quarantined", 2)
    assert data["until"] > time.time()
    assert re.match(r"crashes +quarantined +0 +1 ", line)
    assert re.search(r"crashes is quarantined since 20.* until 20.* after 2 crashes", told)

    resumed = crewpool("plugins", "resume", "crashes", "--json", REDIS_URL=redis_server.url)
    assert json.loads(resumed.stdout) == {
        "plugin": "crashes",
        "state": "running",
        "was": "quarantined",
    }
    wait_until(lambda: len(world.results()) == 3)


def test_running_ones_are_counted(redis_server, supervisor, world, listed):
    assert supervisor
    world.publish("r-1", "sleeps", {"seconds": 60})
    wait_until(lambda: world.record("r-1").get("state") == "running")

    data, line, _ = listed("sleeps")

    assert (data["state"], data["runs_in_hand"], data["runs_parked"]) == ("running", 1, 0)
    assert re.match(r"sleeps +running +1 +0 ", line)


def test_without_redis_the_folder_is_listed_and_it_is_said_why_no_more(crewpool, own_server):
    permit(own_server.client, "application")
    denied = own_server.url.replace("//", "//application:word@")

    for url, told in ((NOWHERE, "is not reachable"), (denied, "Redis refused HGETALL")):
        asked = {"PLUGIN_DIR": ROOT / "plugins", "REDIS_URL": url}
        listed = crewpool("plugins", "list", **asked)
        data = json.loads(crewpool("plugins", "list", "--json", **asked).stdout)
        assert listed.returncode == 0
        assert re.search(r"^hello +1\.0 +60s +name ", listed.stdout, re.MULTILINE)
        assert "Their states are not known: Redis" in listed.stderr
        assert told in listed.stderr
        assert data["plugins"][0]["state"] is None


def test_where_its_import_failed_is_told(crewpool, redis_server, start_supervisor, world, tmp_path):
    plugins = write_plugin(tmp_path / "plugins", "bad", "import os; os._exit(3)")
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    url, reason = redis_server.url, "its import ended the zygote with exit 3"
    wait_until(lambda: reason in crewpool("workers", REDIS_URL=url).stdout)

    data = crewpool("plugins", "list", "--json", REDIS_URL=url, PLUGIN_DIR=plugins).stdout
    told = crewpool("plugins", "list", REDIS_URL=url, PLUGIN_DIR=plugins).stderr

    (plugin,) = json.loads(data)["plugins"]
    assert plugin["import_failed"] == {supervisor.host: reason}
    assert f"bad is not imported on {supervisor.host}: {reason}" in " ".join(told.split())


def test_one_that_is_paused_and_does_not_stand_here_is_told_and_can_be_resumed(
    crewpool, redis_server, world
):
    facts = {"state": "paused", "since_ms": 1_000, "by": "\x1b]0;owned\x07you"}
    world.client.hset("crewpool:plugins", "elsewhere", json.dumps(facts))
    url = redis_server.url

    listed = crewpool("plugins", "list", REDIS_URL=url)
    _, drawn = crewpool.on_terminal("plugins", "list", REDIS_URL=url)
    resumed = crewpool("plugins", "resume", "elsewhere", REDIS_URL=url)

    assert re.search(r"elsewhere is paused by .*, and does not stand in this", listed.stderr)
    assert "\x1b]0;" not in drawn
    assert resumed.returncode == 0
    assert not world.client.exists("crewpool:plugins")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["pause"], 2, "Missing argument"),
        (["pause", "nothing"], 1, "There is no plugin nothing in "),
        (["pause", "../plugins/echoes"], 1, "There is no plugin ../plugins/echoes in "),
        (["pause", "\x1b[2Jx"], 1, "There is no plugin [2Jx in "),
        (["pause", "echoes", "--reason", "x" * 301], 2, "at most 300 are kept"),
        (["resume", "nothing"], 1, "There is no plugin nothing in "),
        (["resume"], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_asked_changes_nothing(crewpool, redis_server, world, arguments, code, told):
    refused = crewpool("plugins", *arguments, REDIS_URL=redis_server.url, PLUGIN_DIR=DRILLS)

    assert refused.returncode == code, refused.stderr
    assert told in refused.stderr
    assert world.everything() == ""


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_without_redis_or_permission_nothing_is_paused(crewpool, own_server, action):
    permit(own_server.client, "application")
    url = own_server.url.replace("//", "//application:word@")

    away = crewpool("plugins", action, "echoes", REDIS_URL=NOWHERE)
    denied = crewpool("plugins", action, "echoes", REDIS_URL=url)

    assert away.returncode == denied.returncode == 1
    assert "is not reachable" in away.stderr
    assert "Redis refused" in denied.stderr
