"""What a supervisor does when it is told to over Redis."""

import json

import pytest

from tests.support.telling import Telling
from tests.support.waiting import stays_true, wait_until


@pytest.fixture
def tell(world):
    return Telling(world.client)


def test_a_paused_one_finishes_what_it_has_and_takes_nothing_new(supervisor, world, tell):
    busy = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))

    assert tell(supervisor, "pause", reason="new disk")["ok"] == "1"
    later = world.publish()

    assert supervisor.readiness() == (
        503,
        {"status": "not_ready", "error": "the supervisor is paused: new disk"},
    )
    assert supervisor.liveness()[0] == 200
    wait_until(lambda: world.result(busy))
    stays_true(lambda: world.result(later) is None and world.pending() == [], 0.5)
    beat = json.loads(world.client.get(f"crewpool:host:{supervisor.host}"))
    assert (beat["phase"], beat["because"], len(beat["workers"])) == ("paused", "new disk", 2)

    assert tell(supervisor, "resume")["text"] == "takes runs again"
    assert wait_until(lambda: world.result(later))["status"] == "completed"
    assert supervisor.readiness()[0] == 200


def test_a_pause_leaves_runs_to_others(start_supervisor, world, tell):
    paused, other = (start_supervisor(CREWPOOL_WORKERS=1) for _ in range(2))
    tell(paused, "pause")

    runs = [world.publish() for _ in range(6)]

    wait_until(lambda: world.have_results(runs))
    hosts = {world.result(run)["meta"]["worker"].rpartition(".")[0] for run in runs}
    assert hosts == {other.host}
    assert paused.stop() == other.stop() == 0


def test_a_paused_one_drains(supervisor, tell):
    tell(supervisor, "pause")

    assert supervisor.stop() == 0


def test_scale_sets_the_number_of_workers(supervisor, world, tell):
    supervisor.wait_idle(2)

    assert tell(supervisor, "scale", workers=4)["text"] == "2 slots before, 4 now"
    supervisor.wait_idle(4)
    tell(supervisor, "scale", workers=0)
    wait_until(lambda: supervisor.workers() == {})
    run = world.publish()
    stays_true(lambda: world.result(run) is None, 0.3)
    tell(supervisor, "scale", workers=1)

    assert wait_until(lambda: world.result(run))["status"] == "completed"
    supervisor.wait_idle(1)


def test_scale_waits_for_the_runs_of_surplus_workers(supervisor, world, tell):
    runs = [world.publish(plugin="sleeps", settings={"seconds": 1}) for _ in range(2)]
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    tell(supervisor, "scale", workers=0)

    wait_until(lambda: world.have_results(runs))
    assert [world.result(run)["status"] for run in runs] == ["completed"] * 2
    wait_until(lambda: supervisor.workers() == {})


@pytest.mark.parametrize("workers", ["513", "-1", "two", "", "1" * 5000])
def test_a_size_that_cannot_be_changes_nothing(supervisor, tell, workers):
    supervisor.wait_idle(2)

    reply = tell(supervisor, "scale", workers=workers)

    assert reply["ok"] == "0"
    assert "workers must be a number from 0 to 512" in reply["text"]
    assert supervisor.log_lines("message_refused")
    assert len(supervisor.workers()) == 2


def test_drain_lets_crews_finish_however_often_it_is_told(supervisor, world, tell):
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))

    assert tell(supervisor, "drain")["text"] == "drains, 1 runs in hand"
    wait_until(lambda: supervisor.log_lines("asked", ask="leave"))
    assert tell(supervisor, "drain")["text"] == "is draining already"
    refused = tell(supervisor, "resume")

    assert (refused["ok"], refused["text"]) == ("0", "it is draining")
    assert supervisor.wait_exit() == 0
    assert world.result(run)["status"] == "completed"


def test_term_after_drain_lets_crews_finish_too(supervisor, world, tell):
    """As when a container's preStop hook drains, and its TERM follows."""
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: supervisor.busy("sleeps"))
    tell(supervisor, "drain")
    wait_until(lambda: supervisor.log_lines("asked", ask="leave"))

    assert supervisor.stop() == 0

    assert world.result(run)["status"] == "completed"


def test_reload_brings_a_new_zygote(supervisor, tell):
    supervisor.wait_idle()

    assert tell(supervisor, "reload")["ok"] == "1"

    wait_until(lambda: len(supervisor.log_lines("zygote_ready")) == 2)
    supervisor.wait_idle()


def test_ping_is_answered_with_what_is_going_on(supervisor, world, tell):
    world.publish("r-1", plugin="sleeps")
    wait_until(lambda: supervisor.busy("sleeps"))

    reply = tell(supervisor, "ping")

    assert (reply["host"], reply["text"]) == (supervisor.host, "running, 1 of 2 busy")
    facts = reply["data"]
    assert (facts["pid"], facts["slots"], facts["busy"]) == (supervisor.pid, 2, 1)
    assert set(facts["versions"]) == {"crewpool", "crewai", "python"}
    assert all(facts["versions"].values())
    assert [slot["run"] for slot in facts["workers"] if "run" in slot] == ["r-1"]


def test_all_hear_what_is_told_to_all(start_supervisor, tell):
    hosts = {start_supervisor(CREWPOOL_WORKERS=1).host for _ in range(2)}

    tell(None, "pause")

    wait_until(lambda: tell.hosts() == hosts)


def test_a_clean_end_takes_its_control_stream_along(supervisor, world, tell):
    tell(supervisor, "ping")
    stream = f"crewpool:messages:{supervisor.host}"
    assert world.client.exists(stream)

    assert supervisor.stop() == 0

    assert not world.client.exists(stream)


def test_nonsense_ends_nothing(supervisor, world, tell):
    stream = f"crewpool:messages:{supervisor.host}"
    for fields in (
        {"kind": "os.system", "id": "x" * 500, "reply_to": "plugin:results"},
        {"kind": "scale", "workers": "1" * 100_000},
        {"kind": "cancel", "run": "\x1b[2J"},
        {"": ""},
        {"kind": "ping", "reply_to": "plugin:requests"},
    ):
        world.client.xadd(stream, fields)

    assert tell(supervisor, "ping")["ok"] == "1"
    assert len(supervisor.log_lines("message_refused")) == 5
    assert world.results() == []
    assert world.entries() == []
