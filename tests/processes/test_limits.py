"""Limits of a plugin hold on all hosts together, and nobody else waits for them."""

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until


def marks(path):
    """Return (what, time) of each start and end, in order."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, float(at)) for what, _, at in map(str.split, lines)]


def most_at_a_time(path):
    running = most = 0
    for what, _ in sorted(marks(path), key=lambda mark: mark[1]):
        running += 1 if what == "start" else -1
        most = max(most, running)
    return most


def test_a_limit_of_one_holds_over_two_supervisors(start_supervisor, world, tmp_path):
    supervisors = [start_supervisor(CREWPOOL_WORKERS=3) for _ in range(2)]
    settings = {"marks": str(tmp_path / "marks"), "seconds": 0.1}
    runs = [world.publish(plugin="limited", settings=settings) for _ in range(15)]

    wait_until(lambda: world.have_results(runs), 30, "all have ended")

    assert most_at_a_time(tmp_path / "marks") == 1
    world.assert_exactly_one_result(runs)
    assert all(result["status"] == "completed" for result in world.results())
    order = [result["plugin_run_id"] for result in world.results()]
    assert order == runs, "parked runs kept their order"
    assert all(s.is_running for s in supervisors)


def test_a_rate_holds_over_two_supervisors(start_supervisor, world, tmp_path):
    for _ in range(2):
        start_supervisor(CREWPOOL_WORKERS=3)
    settings = {"marks": str(tmp_path / "marks")}
    runs = [world.publish(plugin="rated", settings=settings) for _ in range(16)]

    wait_until(lambda: world.have_results(runs), 30, "all have ended")

    starts = sorted(at for what, at in marks(tmp_path / "marks") if what == "start")
    # 5/1s: the sixth after each comes a second later. Workers need some milliseconds to begin.
    assert all(later - at > 0.9 for at, later in zip(starts, starts[5:], strict=False))
    assert starts[-1] - starts[0] < 8, "and no slower than it must be"


def test_a_slow_plugin_with_twenty_runs_delays_a_fast_one_by_one_run_at_most(
    start_supervisor, world, tmp_path
):
    supervisor = start_supervisor(CREWPOOL_WORKERS=2)
    slow = [world.publish(plugin="limited", settings={"seconds": 0.5}) for _ in range(20)]
    fast = [world.publish(plugin="echoes") for _ in range(20)]

    wait_until(lambda: world.have_results(fast), 20, "the fast ones have ended")

    ended_before = [r for r in world.results() if r["plugin_run_id"] in slow]
    assert len(ended_before) < 10, "ten seconds' worth of slow ones was not waited for"
    first = [line["run"] for line in supervisor.log_lines("run_started")][:3]
    assert set(first) & set(fast), "a fast one was among the first"
    wait_until(lambda: world.have_results(slow), 30, "the slow ones too")


def test_a_plugin_that_crashes_again_and_again_is_paused_alone_and_probed(
    start_supervisor, world, tmp_path
):
    plugins = tmp_path / "plugins"
    write_crew(plugins, "poison", "os._exit(1) if not os.path.exists(settings['cured']) else None")
    write_crew(plugins, "good", "return 'fine'")
    cured = tmp_path / "cured"
    supervisor = start_supervisor(
        plugin_dir=plugins,
        CREWPOOL_WORKERS=2,
        CREWPOOL_RETRY='{"crash": {"attempts": 1}}',
        CREWPOOL_QUARANTINE_CRASHES=3,
        CREWPOOL_QUARANTINE_COOLDOWN_S=2,
        CREWPOOL_SWEEP_EVERY_S=0.2,
    )
    poison = [world.publish(plugin="poison", settings={"cured": str(cured)}) for _ in range(10)]
    good = [world.publish(plugin="good") for _ in range(5)]

    wait_until(
        lambda: supervisor.log_lines("plugin_state", plugin="poison", state="quarantined"),
        what="it is in quarantine",
    )
    wait_until(lambda: world.have_results(good), what="the others go on")
    assert supervisor.metric("crewpool_plugin_paused", plugin="poison", state="quarantined") == 1
    ended = [r for r in world.results() if r["plugin_run_id"] in poison]
    # Two may have been on their way when the third crashed.
    assert 3 <= len(ended) <= 5
    cured.write_text("")

    wait_until(lambda: world.have_results(poison), 30, "a probe let it go on")

    wait_until(
        lambda: supervisor.log_lines("plugin_state", plugin="poison", state="running"),
        what="and the log says so",
    )
    world.assert_exactly_one_result([*poison, *good])
    completed = [r for r in world.results() if r["status"] == "completed"]
    assert len(completed) == len(poison) + len(good) - len(ended)


@pytest.mark.parametrize("way", ["limit", "pause"])
def test_what_is_parked_survives_its_supervisor(start_supervisor, world, way):
    first = start_supervisor(CREWPOOL_WORKERS=2)
    if way == "pause":
        world.client.hset("crewpool:plugins", "limited", '{"state":"paused","since_ms":1}')
    runs = [world.publish(plugin="limited", settings={"seconds": 0.3}) for _ in range(6)]
    wait_until(lambda: world.client.hlen("crewpool:waiting") >= 5, what="they are parked")
    first.kill()
    if way == "pause":
        world.client.hdel("crewpool:plugins", "limited")

    start_supervisor(CREWPOOL_LEASE_S=2, CREWPOOL_RENEW_EVERY_S=0.5, CREWPOOL_SWEEP_EVERY_S=0.3)

    wait_until(lambda: world.have_results(runs), 30, "all have ended")
    world.assert_exactly_one_result(runs)
