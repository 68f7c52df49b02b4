"""What somebody else cuts off a stream is lost, and it is said: counted, logged, answered."""

from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import wait_until


def overrun(world, count, maxlen):
    """Publish as a producer does that keeps its stream short, and too short."""
    runs = []
    for number in range(count):
        runs.append(f"foreign-{number}")
        fields = {"payload": world.payload(runs[-1], "echoes"), "schema_version": "v1"}
        world.client.xadd("plugin:requests", fields, maxlen=maxlen, approximate=True)
    return runs


def test_a_foreign_producer_that_overruns_its_maxlen_is_noticed(start_supervisor, world):
    start_supervisor().stop()  # it made the groups, and has gone
    runs = overrun(world, 2500, 1000)
    left = world.client.xlen("plugin:requests")
    assert 1000 <= left < 1200

    supervisor = start_supervisor(CREWPOOL_WORKERS=4)

    wait_until(lambda: world.has_results(left), 60, "what is left was run")
    wait_until(lambda: supervisor.metric("crewpool_passed_runs_total", kind="lost"), what="counted")
    assert supervisor.metric("crewpool_passed_runs_total", kind="lost") == len(runs) - left
    (line,) = supervisor.log_lines("entries_lost")
    assert (line.level, line["count"]) == ("ERROR", str(len(runs) - left))
    world.assert_exactly_one_result(runs[-left:])
    world.assert_nothing_pending()


def test_a_run_cut_off_while_its_supervisor_is_dead_is_answered(start_supervisor, world):
    victim = start_supervisor()
    run_id = world.publish(plugin="sleeps")
    wait_until(lambda: victim.log_lines("run_started", run=run_id), what="it runs")
    victim.kill()
    world.client.xtrim("plugin:requests", maxlen=0)

    other = start_supervisor(**QUICK_LEASES)

    wait_until(lambda: world.result(run_id), 40, "it was answered")
    assert world.result(run_id)["status"] == "failed"
    assert "removed from its stream" in world.result(run_id)["error"]
    assert other.log_lines("entries_trimmed")


def test_a_run_cut_off_under_its_crew_keeps_its_own_result(start_supervisor, world):
    supervisors = [start_supervisor(CREWPOOL_LEASE_S=4, CREWPOOL_RENEW_EVERY_S=1) for _ in range(2)]
    run_id = world.publish(plugin="sleeps", settings={"seconds": 6})
    wait_until(lambda: any(s.log_lines("run_started", run=run_id) for s in supervisors))

    world.client.xtrim("plugin:requests", maxlen=0)

    wait_until(lambda: world.result(run_id), 20, "it has a result")
    assert world.result(run_id)["status"] == "completed"
