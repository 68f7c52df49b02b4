"""What a supervisor does when it is told to over Redis."""

import json
import signal
import time

import pytest

from supervisor.configuration import load
from supervisor.streams import orders
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Limits, Queue
from tests.support.linux import is_alive
from tests.support.waiting import eventually, stays_true, wait_until

ALL = "crewpool:messages:all"
REPLIES = "crewpool:messages:reply:0123456789abcdef"


@pytest.fixture
def url(redis_server):
    return redis_server.url


@pytest.fixture
def tell(world):
    """Write a message to a supervisor, or to all; return its reply when one is asked for."""

    def tell(supervisor, kind, *, asks=True, **fields):
        stream = f"crewpool:messages:{supervisor.host}" if supervisor else ALL
        asker = {"id": f"a-{time.monotonic_ns()}", "reply_to": REPLIES} if asks else {}
        world.client.xadd(stream, {"kind": kind, **asker, **fields})
        return wait_until(lambda: _reply(world, asker["id"]), 5) if asks else None

    return tell


def _reply(world, asker):
    for _, fields in world.client.xrange(REPLIES):
        if fields["id"] == asker:
            return fields | {"data": json.loads(fields["data"])}
    return None


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
    wait_until(lambda: supervisor.log_lines("asked", ask="drain"))
    assert tell(supervisor, "drain")["text"] == "is draining already"
    refused = tell(supervisor, "resume")

    assert (refused["ok"], refused["text"]) == ("0", "it is draining")
    assert supervisor.wait_exit() == 0
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


def test_all_hear_what_is_told_to_all(start_supervisor, world, tell):
    hosts = {start_supervisor(CREWPOOL_WORKERS=1).host for _ in range(2)}

    tell(None, "pause")

    def answered():
        return {fields["host"] for _, fields in world.client.xrange(REPLIES)}

    wait_until(lambda: answered() == hosts)


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


# -------------------------------------------------------------------- cancel


@pytest.mark.parametrize("plugin", ["sleeps", "spins-in-c", "ignores-term"])
def test_a_cancelled_run_is_dead_within_100_ms(supervisor, world, tell, plugin):
    run = world.publish(plugin=plugin)
    pid = wait_until(lambda: supervisor.busy(plugin))
    began = time.monotonic()

    tell(None, "cancel", run=run, asks=False)
    wait_until(lambda: not is_alive(pid), 5)

    assert time.monotonic() - began < 0.1
    result = wait_until(lambda: world.result(run))
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert world.pending() == []
    assert supervisor.log_lines("worker_killed", because="cancelled", run=run)


async def test_a_cancel_by_script_reaches_the_one_that_has_the_run(start_supervisor, world, url):
    supervisors = [start_supervisor(url, CREWPOOL_WORKERS=1) for _ in range(2)]
    run = world.publish(plugin="sleeps")
    has_it = await eventually(lambda: [s for s in supervisors if s.busy("sleeps")])
    queue = Queue(url, Keys.of(load()), Limits(1_000_000, 60, 60))

    cancelled = await orders.cancel(queue, run)
    await queue.close()

    assert (cancelled.was, cancelled.detail.rpartition(".")[0]) == ("running", has_it[0].host)
    result = await eventually(lambda: world.result(run), 2)
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert world.pending() == []


def test_a_cancel_says_whether_the_run_was_here_and_ends_no_other(supervisor, world, tell):
    meant = world.publish(plugin="sleeps", settings={"seconds": 30})
    other = world.publish(plugin="sleeps", settings={"seconds": 1})
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    here = tell(None, "cancel", run=meant)
    unknown = tell(None, "cancel", run="r-unknown")

    assert (here["data"], unknown["data"]) == ({"in_hand": True}, {"in_hand": False})
    assert wait_until(lambda: world.result(other))["status"] == "completed"
    world.assert_exactly_one_result([meant, other])


def test_after_a_cancel_the_slot_runs_the_next(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1)
    run = world.publish(plugin="sleeps")
    wait_until(lambda: supervisor.busy("sleeps"))
    after = world.publish()

    tell(None, "cancel", run=run, asks=False)

    assert wait_until(lambda: world.result(after))["status"] == "completed"


def test_a_cancel_that_comes_before_the_run_is_in_hand_is_not_lost(supervisor, world, tell):
    """As when it overtakes what the loop has still to hear of the run."""
    tell(supervisor, "pause")
    run = world.publish(plugin="sleeps")
    tell(None, "cancel", run=run)

    tell(supervisor, "resume")

    result = wait_until(lambda: world.result(run))
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert supervisor.log_lines("run_started") == []


def test_a_run_that_is_asked_for_again_after_its_cancel_is_run(supervisor, world, tell):
    tell(None, "cancel", run="r-again")

    world.publish("r-again")

    assert wait_until(lambda: world.result("r-again"))["status"] == "completed"
    assert supervisor.is_running


def test_a_run_that_waits_for_its_worker_is_cancelled_without_one(start_supervisor, world, tell):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1).wait_idle(1)
    supervisor.zygote().send_signal(signal.SIGSTOP)
    supervisor.workers()[0].kill()
    wait_until(lambda: supervisor.log_lines("worker_died"))
    run = world.publish(plugin="sleeps")
    wait_until(world.pending)

    tell(None, "cancel", run=run, asks=False)

    result = wait_until(lambda: world.result(run), 5)
    assert (result["status"], result["error"]) == ("failed", "cancelled")
    assert supervisor.log_lines("run_started") == []
    assert supervisor.zygote().status() == "stopped"


def test_a_run_that_ended_before_its_cancel_keeps_its_result(supervisor, world, tell):
    run = world.publish()
    wait_until(lambda: world.result(run))

    assert tell(None, "cancel", run=run)["data"] == {"in_hand": False}

    stays_true(lambda: world.result(run)["status"] == "completed", 0.3)
    assert supervisor.is_running
