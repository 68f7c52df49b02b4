"""`crewpool ctl`: the order reaches whom it is for, and every answer is told, also none."""

import json
import re
import signal

import pytest

from tests.support.waiting import wait_until


@pytest.fixture
def ctl(crewpool, redis_server):
    """Run `crewpool ctl …`; return the finished command."""
    return lambda *words: crewpool("ctl", *words, REDIS_URL=redis_server.url)


@pytest.fixture
def two(start_supervisor, world):
    """Two supervisors, vm-1 and vm-12, whose heartbeats are there."""
    names = ("vm-1", "vm-12")
    found = [start_supervisor(CREWPOOL_HOST_NAME=name, CREWPOOL_WORKERS=1) for name in names]
    wait_until(lambda: world.client.zcard("crewpool:hosts") == 2)
    return found


def test_ping_is_answered_by_all(ctl, two):
    shown = ctl("ping", "--all")
    data = json.loads(ctl("ping", "--all", "--json").stdout)

    assert shown.returncode == 0
    rows = shown.stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == sorted(s.host for s in two)
    assert all(re.search(r"  running, 0 of \d busy +\d+ ms$", row) for row in rows)
    assert [(d["host"], d["answered"], d["ok"]) for d in data] == [
        (host, True, True) for host in sorted(s.host for s in two)
    ]
    assert {d["facts"]["pid"] for d in data} == {s.pid for s in two}


def test_a_beginning_that_only_one_has_names_it(ctl, two):
    first, second = two

    by_beginning = json.loads(ctl("ping", "vm-12", "--json").stdout)
    by_name = json.loads(ctl("ping", first.host, "vm-12", second.host, "--json").stdout)

    assert [d["host"] for d in by_beginning] == [second.host]
    assert [d["host"] for d in by_name] == [first.host, second.host]


def test_pause_resume_scale_reload_and_drain_do_what_they_say(ctl, two, world):
    first, second = two

    assert ctl("pause", "vm-12", "--reason", "new disk").returncode == 0
    assert second.readiness()[1]["error"] == "the supervisor is paused: new disk"
    assert first.readiness()[0] == 200
    assert "takes runs again" in ctl("resume", "vm-12").stdout
    assert second.readiness()[0] == 200

    assert "1 slots before, 3 now" in ctl("scale", 3, "vm-12").stdout
    second.wait_idle(3)
    assert ctl("reload", "vm-12").returncode == 0
    wait_until(lambda: len(second.log_lines("zygote_ready")) == 2)

    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: first.busy("sleeps") or second.busy("sleeps"))
    assert ctl("drain", "--all").returncode == 0
    assert [first.wait_exit(), second.wait_exit()] == [0, 0]
    assert world.result(run)["status"] == "completed"


def test_who_does_not_answer_is_named_and_is_exit_code_1(ctl, two):
    first, second = two
    first.signal(signal.SIGSTOP)

    shown = ctl("ping", "--all", "--timeout", "0.5")
    data = json.loads(ctl("ping", first.host, "--timeout", "0.5", "--json").stdout)
    first.signal(signal.SIGCONT)

    assert shown.returncode == 1
    rows = {row.split()[0]: row for row in shown.stdout.splitlines()[1:]}
    assert "none within 0.5s" in rows[first.host]
    assert "running" in rows[second.host]
    assert data == [{"host": first.host, "answered": False, "ok": False}]


def test_who_refuses_is_named_and_is_exit_code_1(ctl, two, world):
    first, _ = two
    for _ in two:
        world.publish(plugin="sleeps", settings={"seconds": 3})
    wait_until(lambda: first.busy("sleeps"))
    assert ctl("drain", first.host).returncode == 0

    refused = ctl("scale", 5, first.host)

    assert refused.returncode == 1
    assert re.search(rf"^{first.host} +refused: it is draining", refused.stdout, re.MULTILINE)


CANNOT_BE = {
    "ping": "No supervisor is named. Alive are: vm-1-",
    "ping vm-12 --all": "Both names and --all are given",
    "drain vm-9": "No living supervisor's name is or begins with 'vm-9'. Alive are: vm-1-",
    "drain *": "No living supervisor's name",
    "drain vm-12 vm-9": "No living supervisor's name",
    "pause vm-1": "vm-1 is the beginning of several: vm-1-",
    "scale 513 vm-12": "512",
    "scale -1 vm-12": "No such option",
    "scale many vm-12": "valid integer",
    "scale 2": "No supervisor is named",
    "ping vm-12 --timeout 0": "0.1",
    "ping vm-12 --timeout nan": "3600",
    "explode vm-12": "No such command",
}


def test_what_cannot_be_is_exit_code_2_and_nothing_is_sent(ctl, two, world):
    for line, told in CANNOT_BE.items():
        refused = ctl(*line.split(" "))

        assert refused.returncode == 2, line
        assert told in " ".join(refused.stderr.split()), line

    assert ctl("drain", "").returncode == 2
    assert world.client.keys("crewpool:messages:*") == []
    assert all(supervisor.is_running for supervisor in two)


def test_the_dead_are_not_among_those_alive(ctl, two, world):
    first, second = two
    first.kill()
    world.client.delete(f"crewpool:host:{first.host}")

    refused = ctl("ping", first.host)

    assert refused.returncode == 2
    assert f"Alive are: {second.host}" in refused.stderr
    assert ctl("ping", "--all").returncode == 0


def test_without_anybody_alive_it_says_what_to_start(ctl, world):
    refused = ctl("ping", "--all")

    assert refused.returncode == 1
    assert "No supervisor is alive on redis://" in refused.stderr
    assert world.client.keys("crewpool:messages:*") == []


def test_without_redis_it_says_so(crewpool):
    refused = crewpool("ctl", "ping", "--all")

    assert refused.returncode == 1
    assert "is not reachable" in refused.stderr
