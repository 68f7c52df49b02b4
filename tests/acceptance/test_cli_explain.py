"""`crewpool explain`: the sentences about real runs of real supervisors."""

import json
import re
import signal

import pytest

from tests.acceptance.conftest import NOWHERE, permit
from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import wait_until

HOSTILE = "\x1b]0;owned\x07 [red]x[/red]"


@pytest.fixture
def explained(crewpool, redis_server):
    """Return what is said about a run, as one text; and its place."""

    def explained(run_id, **environment):
        asked = {"REDIS_URL": redis_server.url, **environment}
        said = crewpool("explain", run_id, **asked)
        assert said.returncode == 0, said.stderr
        data = json.loads(crewpool("explain", run_id, "--json", **asked).stdout)
        return data["place"], said.stdout

    return explained


def test_one_that_nobody_takes_says_that_nobody_is_alive(explained, world):
    world.publish("r-0")
    world.publish("r-1")

    place, said = explained("r-1")

    assert place == "queued"
    assert "Run r-1 is queued in plugin:requests, priority normal, since " in said
    assert "About 1 run is before it." in said
    assert "Nobody takes it: no supervisor is alive on this Redis" in said


def test_one_that_waits_for_a_busy_worker_says_so(explained, start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_HEARTBEAT_EVERY_S=0.5)
    world.publish("r-long", "sleeps", {"seconds": 60})
    wait_until(lambda: world.record("r-long").get("state") == "running")
    world.publish("r-1", "echoes", stream="plugin:requests:low")

    place, said = wait_until(lambda: (s := explained("r-1")) and "all 1 workers" in s[1] and s)

    assert place == "queued"
    assert "priority low" in said
    assert "It is the next one to be taken." in said
    assert f"1 supervisor takes runs ({supervisor.host}), and all 1 workers are busy" in said


def test_a_running_one_says_where_and_when_it_is_killed(explained, supervisor, world):
    world.publish("r-on", "sleeps", {"seconds": 60})
    wait_until(lambda: world.record("r-on").get("state") == "running")

    place, said = explained("r-on")

    assert place == "running"
    assert re.search(rf"running on {supervisor.host}, slot s[01], attempt 1, since 20\d\d-", said)
    assert re.search(r"It is killed at 20\S+ \S+ \(in 4m \d+s\) if it has not ended", said)
    assert "Its supervisor is alive: its last heartbeat was" in said


def test_of_a_killed_supervisor_the_lease_is_told(explained, start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_HEARTBEAT_EVERY_S=0.2, CREWPOOL_LEASE_S=60)
    world.publish("r-lost", "sleeps", {"seconds": 60})
    wait_until(lambda: world.record("r-lost").get("state") == "running")
    supervisor.signal(signal.SIGKILL)

    place, said = wait_until(
        lambda: (s := explained("r-lost", CREWPOOL_LEASE_S=60)) and "is dead" in s[1] and s
    )

    assert place == "running"
    assert f"Its supervisor {supervisor.host} " in said
    assert re.search(r"lapses in \d+s; then another .* starts attempt 2 of at most 3", said)
    assert "But no supervisor is alive on this Redis" in said


def test_delayed_ones_say_why(explained, crewpool, start_supervisor, redis_server, world, tmp_path):
    start_supervisor(CREWPOOL_RETRY='{"crash": {"attempts": 4, "backoff_s": 200}}')
    crewpool("submit", "echoes", "--run-id", "r-in", "--in", "1h", REDIS_URL=redis_server.url)
    world.publish("r-crash", "crashes", {"how": "kill"})
    wait_until(lambda: world.record("r-crash").get("state") == "delayed")

    submitted = explained("r-in")
    retried = explained("r-crash", CREWPOOL_RETRY='{"crash": {"attempts": 4, "backoff_s": 200}}')

    assert submitted[0] == retried[0] == "delayed"
    assert re.search(r"is delayed until 20\S+ \S+ \(in 59m \d+s\)", submitted[1])
    assert "It was submitted for then" in submitted[1]
    assert "Attempt 1 on " in retried[1]
    assert "attempt 2 of at most 4 comes next, by the policy for crash." in retried[1]


def test_parked_ones_say_what_blocks_them(
    explained, crewpool, start_supervisor, redis_server, world
):
    start_supervisor(redis_server.url)
    crewpool(*("plugins", "pause", "echoes", "--reason", "a bad night"), REDIS_URL=redis_server.url)
    for run_id in ("r-works", "r-waits"):
        world.publish(run_id, "limited", {"seconds": 60})
    world.publish("r-paused")
    for run_id in ("r-waits", "r-paused"):
        wait_until(lambda r=run_id: world.record(r).get("state") == "parked")

    limited, paused = explained("r-waits"), explained("r-paused")

    assert limited[0] == paused[0] == "parked"
    assert "1 of at most 1 runs of its plugin limited are in hand: r-works on " in limited[1]
    assert re.search(r"Its plugin echoes is paused by \S+ since .* \(a bad night\)", paused[1])


def test_ended_ones_say_how_and_where_the_dead_letter_is(explained, supervisor, world):
    assert supervisor
    world.publish("r-good")
    world.publish("r-bad", "raises", {"text": "no luck"})
    wait_until(lambda: world.have_results(["r-good", "r-bad"]))

    good, bad = explained("r-good"), explained("r-bad")

    assert good[0] == bad[0] == "ended"
    assert re.search(r"Run r-good completed at 20", good[1])
    assert "Its result stands in plugin:results." in good[1]
    assert "dead letter" not in good[1]
    assert re.search(r"Run r-bad failed at 20.*no luck", bad[1])
    assert "The cause is exception, for which a run starts at most 1 time." in bad[1]
    letter_id = world.client.xrange("plugin:requests:dlq")[0][0]
    assert f"Its dead letter is {letter_id} (crewpool dlq show {letter_id})" in bad[1]


def test_one_that_went_through_everything_is_told_at_each_station(
    explained, crewpool, start_supervisor, redis_server, world
):
    first = start_supervisor(redis_server.url, **QUICK_LEASES)
    world.publish("r-1", "sleeps", {"seconds": 60})
    wait_until(lambda: world.record("r-1").get("state") == "running")
    first.signal(signal.SIGKILL)
    second = start_supervisor(redis_server.url, **QUICK_LEASES)
    wait_until(lambda: world.record("r-1").get("attempt") == "2", within_s=20)

    assert f"running on {second.host}" in explained("r-1")[1]
    crewpool("cancel", "r-1", REDIS_URL=redis_server.url)
    place, said = explained("r-1")
    assert place == "ended"
    assert re.search(r"Run r-1 failed at 20\S+ \S+ \(\d+s ago\): cancelled\.", said)


def test_what_is_not_known_is_exit_code_1(crewpool, redis_server, world):
    said = crewpool("explain", "r-\x1b[2Jnone", REDIS_URL=redis_server.url)
    data = crewpool("explain", "r-none", "--json", REDIS_URL=redis_server.url)

    assert said.returncode == data.returncode == 1
    assert said.stdout == ""
    assert "Run r-[2Jnone is not known" in said.stderr
    assert "Next: crewpool runs list" in said.stderr
    assert json.loads(data.stdout)["place"] == "unknown"
    assert world.everything() == ""


@pytest.mark.parametrize("arguments", [[], ["r-1", "r-2"], ["r-1", "--why"]])
def test_what_cannot_be_asked_is_exit_code_2(crewpool, redis_server, arguments):
    assert crewpool("explain", *arguments, REDIS_URL=redis_server.url).returncode == 2


def test_without_redis_or_permission_the_usual_sentence_is_said(crewpool, own_server):
    permit(own_server.client, "application")
    url = own_server.url.replace("//", "//application:word@")

    away = crewpool("explain", "r-1", REDIS_URL=NOWHERE)
    denied = crewpool("explain", "r-1", REDIS_URL=url)

    assert away.returncode == denied.returncode == 1
    assert "is not reachable" in away.stderr
    assert "Redis refused" in denied.stderr


def test_the_supervisors_user_may_explain(crewpool, own_server):
    permit(own_server.client, "crewpool")
    own_server.client.hset("crewpool:run:r-1", mapping={"state": "completed"})
    url = own_server.url.replace("//", "//crewpool:word@")

    said = crewpool("explain", "r-1", REDIS_URL=url)

    assert (said.returncode, said.stderr) == (0, "")


def test_what_hostile_hands_wrote_does_not_steer_a_terminal(crewpool, redis_server, world):
    world.publish("r-1", HOSTILE)
    facts = dict.fromkeys(("error", "worker", "cause", "handed_back_because", "plugin"), HOSTILE)
    world.client.hset("crewpool:run:r-2", mapping={**facts, "state": "failed"})

    for run_id in ("r-1", "r-2"):
        code, drawn = crewpool.on_terminal("explain", run_id, REDIS_URL=redis_server.url)
        assert code == 0
        assert "\x1b]0;" not in drawn
        assert "\x07" not in drawn
    assert "[red]x[/red]" in drawn
