"""`crewpool hosts`: one line a supervisor, whether it lives, leaves or was killed."""

import json
import re
import time

import pytest

from tests.support.waiting import wait_until

QUICK = {"CREWPOOL_HEARTBEAT_EVERY_S": "0.2"}


@pytest.fixture
def hosts(crewpool, redis_server):
    """Return what `crewpool hosts --json` says, by name."""

    def hosts():
        told = json.loads(crewpool("hosts", "--json", REDIS_URL=redis_server.url).stdout)
        return {host["host"]: host for host in told}

    return hosts


def test_all_hosts_are_shown_in_a_line_each(crewpool, redis_server, start_supervisor, hosts, world):
    one = start_supervisor(CREWPOOL_HOST_NAME="vm-1", CREWPOOL_WORKERS=3, **QUICK)
    two = start_supervisor(CREWPOOL_HOST_NAME="vm-2", CREWPOOL_WORKERS=1, **QUICK)
    for _ in range(4):
        world.publish(plugin="sleeps")
    wait_until(lambda: [h["busy"] for h in hosts().values()] in ([3, 1], [1, 3]))

    shown = crewpool("hosts", REDIS_URL=redis_server.url).stdout
    told = hosts()

    head, *rows = shown.splitlines()
    assert head.split() == [
        *("HOST", "STATE", "BUSY", "PHASE", "VERSION", "SERVER", "PID", "UP", "LAST", "BEAT")
    ]
    assert len(rows) == 2
    for supervisor, slots in ((one, 3), (two, 1)):
        (row,) = [row for row in rows if row.startswith(supervisor.host)]
        state = rf"alive +{slots}/{slots}  running +\S+ +(redis|valkey) \S+ +{supervisor.pid}  \d+s"
        assert re.search(state, row)
        facts = told[supervisor.host]
        assert (facts["state"], facts["phase"], facts["slots"]) == ("alive", "running", slots)
        assert facts["versions"]["crewai"].startswith("1.")
        assert facts["last_beat_at"] == pytest.approx(time.time(), abs=30)
        assert "workers" not in facts


def test_one_that_was_killed_is_shown_as_dead(
    crewpool, redis_server, start_supervisor, hosts, world
):
    killed = start_supervisor(**QUICK)
    lives = start_supervisor(**QUICK)
    wait_until(lambda: world.client.zcard("crewpool:hosts") == 2)

    killed.kill()

    wait_until(lambda: hosts()[killed.host]["state"] == "dead")
    assert hosts()[lives.host]["state"] == "alive"
    shown = crewpool("hosts", REDIS_URL=redis_server.url)
    assert re.search(rf"^{killed.host} +dead +\d+s ago$", shown.stdout, re.MULTILINE)
    title = f"{killed.host}  dead, last seen"
    assert title in crewpool("workers", REDIS_URL=redis_server.url).stdout


def test_one_that_left_is_not_shown(hosts, start_supervisor):
    supervisor = start_supervisor(**QUICK)
    wait_until(hosts)

    supervisor.stop()

    assert hosts() == {}


def test_draining_and_paused_ones_are_told(crewpool, redis_server, start_supervisor, hosts, world):
    paused = start_supervisor(CREWPOOL_WORKERS=1)
    wait_until(hosts)
    url = redis_server.url
    crewpool("ctl", "pause", "--all", "--reason", "new disk", REDIS_URL=url)
    draining = start_supervisor(CREWPOOL_WORKERS=1)
    world.publish(plugin="sleeps", settings={"seconds": 20})
    wait_until(lambda: draining.busy("sleeps"))
    crewpool("ctl", "drain", draining.host, REDIS_URL=url)

    wait_until(lambda: hosts()[draining.host]["state"] == "draining")
    shown = crewpool("hosts", REDIS_URL=url).stdout

    told = hosts()[paused.host]
    assert (told["state"], told["phase"], told["because"]) == ("alive", "paused", "new disk")
    assert re.search(rf"^{paused.host} +alive +0/1  paused: new disk +", shown, re.MULTILINE)
    assert re.search(rf"^{draining.host} +draining +1/1  draining +", shown, re.MULTILINE)


def test_without_anybody_it_says_what_to_start(crewpool, redis_server):
    shown = crewpool("hosts", REDIS_URL=redis_server.url)

    assert shown.returncode == 0
    assert shown.stdout == ""
    assert "No supervisor is alive on redis://" in shown.stderr


@pytest.mark.parametrize("beat", ["not json", "[1]", '"x"', "{}", '{"workers": 3, "phase": [1]}'])
def test_a_heartbeat_that_is_none_ends_no_command(crewpool, redis_server, world, beat):
    world.client.zadd("crewpool:hosts", {"vm-\x1b[31modd": time.time()})
    world.client.set("crewpool:host:vm-\x1b[31modd", beat)
    url = redis_server.url

    for words in (["hosts"], ["hosts", "--json"], ["workers"], ["workers", "--json"]):
        shown = crewpool(*words, REDIS_URL=url)
        assert shown.returncode == 0, shown.stderr
        assert "\x1b" not in shown.stdout
