"""Who follows a run hears how far it is, how it ended, and that this is the end."""

import json
import signal

from tests.support.redis_world import RESULTS
from tests.support.waiting import stays_true, wait_until

ENDED = {"plugin_run_id": "r-1", "because": "ended"}


def put_record(world, run_id="r-1", **facts):
    """Write what a supervisor writes while a run goes on."""
    world.client.hset(f"crewpool:run:{run_id}", mapping={"plugin": "echoes", **facts})


def put_result(world, run_id="r-1", output='{"a": 1}'):
    """Write what a supervisor writes at the end of a run."""
    put_record(world, run_id, state="completed")
    result = {"plugin_run_id": run_id, "status": "completed", "output": output, "error": ""}
    world.client.xadd(RESULTS, {"payload": json.dumps(result)})


def test_a_run_is_followed_from_its_start_to_its_end(gateway, supervisor):
    asked = {"plugin_name": "sleeps", "user_id": 7, "settings": {"seconds": 1.5}}
    run_id = gateway.ask(asked).json()["plugin_run_id"]
    events = list(gateway.follow(run_id))

    names = [event for event, _, _ in events]
    assert names[-2:] == ["result", "end"]
    assert set(names[:-2]) == {"progress"}
    assert any(data["status"] == "processing" for event, _, data in events if event == "progress")
    _, _, result = events[-2]
    assert result["status"] == "completed"
    assert result["output"] == gateway.get(f"/v1/runs/{run_id}").json()["output"]
    assert events[-1] == ("end", "end", {"plugin_run_id": run_id, "because": "ended"})


def test_only_what_is_new_is_told_and_the_result_comes_at_once(gateway, world):
    put_record(world, state="running", attempt=1, task=1, tasks=3)
    events = gateway.follow("r-1")
    _, first_id, first = next(events)
    put_record(world, task=2)
    _, second_id, second = next(events)
    put_result(world)

    assert first["progress"] == {"state": "running", "attempt": 1, "task": 1, "tasks": 3}
    assert second["progress"]["task"] == 2
    assert first_id != second_id
    assert [event for event, _, _ in events] == ["result", "end"]


def test_a_run_that_has_ended_is_told_in_two_events(gateway, world):
    put_result(world)

    (_, _, result), (_, _, end) = gateway.follow("r-1")
    assert result == {
        "plugin_run_id": "r-1",
        "status": "completed",
        "output": {"a": 1},
        "error": "",
    }
    assert end == ENDED


def test_a_result_that_is_gone_from_its_stream_leaves_the_status(gateway, world):
    put_record(world, state="running")
    events = gateway.follow("r-1")
    next(events)
    put_record(world, state="failed", error="timeout")

    (_, _, result), (_, _, end) = events
    assert (result["status"], result["error"], result["output"]) == ("failed", "timeout", None)
    assert end == ENDED


def test_who_comes_back_is_not_told_again(gateway, world):
    put_record(world, state="running", task=1)
    _, seen, _ = next(gateway.follow("r-1"))
    events = gateway.follow("r-1", **{"Last-Event-ID": seen})
    put_record(world, task=2)
    _, _, step = next(events)
    put_result(world)

    assert step["progress"]["task"] == 2
    assert [e for e, _, _ in gateway.follow("r-1", **{"Last-Event-ID": "result"})] == ["end"]
    stop = gateway.get("/v1/runs/r-1/events", headers={"Last-Event-ID": "end"})
    assert (stop.status_code, stop.content) == (204, b"")


def test_all_who_follow_a_run_hear_its_end(gateway, world):
    put_record(world, state="running")
    followers = [gateway.follow("r-1") for _ in range(5)]
    for events in followers:
        next(events)
    put_result(world)

    for events in followers:
        assert [event for event, _, _ in events] == ["result", "end"]


def test_a_key_that_is_no_record_hides_no_other(gateway, world):
    for run_id in ("r-1", "r-2", "r-3"):
        put_record(world, run_id, state="running", task=1)
    followers = {run_id: gateway.follow(run_id) for run_id in ("r-1", "r-2", "r-3")}
    for events in followers.values():
        next(events)
    world.client.delete("crewpool:run:r-2")
    world.client.set("crewpool:run:r-2", "no record")
    put_record(world, "r-3", task=2)

    assert next(followers["r-3"])[2]["progress"]["task"] == 2
    assert gateway.get("/v1/runs/r-2").status_code == 503


def test_followers_sit_an_outage_out(own_server, start_gateway):
    gateway = start_gateway(own_server.url)
    world = type("World", (), {"client": own_server.client})
    put_record(world, state="running", task=1)
    events = gateway.follow("r-1")
    next(events)
    own_server.stop()
    wait_until(lambda: gateway.log_lines("redis_away"), what="the outage was noticed")
    own_server.start()
    world.client = own_server.client
    put_record(world, state="running", task=2)
    assert next(events)[2]["progress"]["task"] == 2
    put_result(world)

    assert [event for event, _, _ in events] == ["result", "end"]


def test_a_run_in_the_outbox_is_followed_through_the_records(own_server, start_gateway, tmp_path):
    gateway = start_gateway(own_server.url, CREWPOOL_RECORDS_URL=f"sqlite:///{tmp_path}/runs.db")
    own_server.stop()
    run_id = gateway.ask({"plugin_name": "echoes", "user_id": 7}).json()["plugin_run_id"]
    events = gateway.follow(run_id)
    assert next(events)[2]["progress"] == {"state": "waiting"}
    own_server.start()
    assert next(events)[2]["progress"] == {"state": "pending"}
    world = type("World", (), {"client": own_server.client})
    put_result(world, run_id)

    assert [event for event, _, _ in events] == ["result", "end"]


def test_followers_are_sent_away_when_the_gateway_leaves(start_gateway, world):
    gateway = start_gateway()
    put_record(world, state="running")
    events = gateway.follow("r-1")
    next(events)
    gateway.signal(signal.SIGTERM)

    assert list(events) == [("end", "", {"plugin_run_id": "r-1", "because": "shutdown"})]
    assert gateway.wait_exit() == 0
    assert gateway.log_lines("gateway_left")


def test_without_followers_redis_is_left_alone(gateway, world):
    put_result(world)
    list(gateway.follow("r-1"))

    def looks():
        stats = world.client.info("commandstats")
        return [stats.get(f"cmdstat_{name}", {}).get("calls") for name in ("hgetall", "xread")]

    # The read that was on when the last one left.
    wait_until(lambda: not blocked(world), what="nobody waits for results")
    before = looks()
    stays_true(lambda: looks() == before, 1.5, "nobody asks Redis")


def blocked(world):
    return world.client.info("clients")["blocked_clients"]
