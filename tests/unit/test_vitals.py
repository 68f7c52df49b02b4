"""What `crewpool results consume` says of itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from supervisor.observe.records import RecordsMetrics
from supervisor.runs.answers import Arrival
from supervisor.runs.backlog import Backlog
from supervisor.runs.errors import RecordsAway
from supervisor.runs.vitals import LIVE_WITHIN_S, CountedStore, Vitals
from supervisor.streams.wire import Result


@pytest.fixture
def world():
    """Its surroundings: what the outbox has, a clock, the schedules."""

    def look():
        if world.away:
            raise world.away
        return Backlog(3, datetime.now(UTC) - timedelta(seconds=40))

    world = SimpleNamespace(away=None, now=1000.0, schedules=SimpleNamespace(came_round_at=1000.0))
    runners = {"the schedules": world.schedules}
    world.vitals = Vitals(RecordsMetrics(), look, runners, lambda: world.now)
    return world


def shown(vitals, name, **labels):
    vitals.exposition()
    return vitals.metrics.registry.get_sample_value(f"crewpool_records_{name}", labels)


def test_it_is_ready_while_both_redis_and_the_records_answer(world):
    vitals = world.vitals
    assert "not asked yet" in vitals.not_ready_because()
    asyncio.run(vitals.look())
    vitals.came_round(is_away=False)
    assert vitals.not_ready_because() == ""
    assert (shown(vitals, "redis_up"), shown(vitals, "database_up")) == (1, 1)

    vitals.came_round(is_away=True)
    assert vitals.not_ready_because() == "Redis is not reachable"
    assert shown(vitals, "redis_up") == 0

    vitals.came_round(is_away=False)
    world.away = RecordsAway("postgresql://db/app", "connection refused")
    asyncio.run(vitals.look())
    assert "connection refused" in vitals.not_ready_because()
    assert shown(vitals, "database_up") == 0


def test_the_outbox_is_shown_with_the_wait_of_its_oldest(world):
    asyncio.run(world.vitals.look())

    assert shown(world.vitals, "outbox_runs") == 3
    assert 40 <= shown(world.vitals, "outbox_oldest_seconds") < 50


def test_it_is_stalled_when_any_of_its_parts_makes_no_progress(world):
    vitals = world.vitals
    world.now += LIVE_WITHIN_S + 1
    vitals.came_round(is_away=True)
    assert vitals.stalled_because() == "the schedules has made no progress for 61s"

    world.schedules.came_round_at = world.now
    assert vitals.stalled_because() == ""

    world.now += LIVE_WITHIN_S + 1
    world.schedules.came_round_at = world.now
    assert "the consumer of results" in vitals.stalled_because()


def test_results_are_counted_by_what_became_of_them(world):
    def apply_results(arrivals):
        if len(arrivals) == 1:
            raise RecordsAway("sqlite:///runs.db", "disk I/O error")
        return ["applied", "unknown", "duplicate"]

    store = SimpleNamespace(apply_results=apply_results, list=None, get=None, mark_processing=None)
    metrics = world.vitals.metrics
    counted = CountedStore(store, metrics)
    written = datetime.now(UTC) - timedelta(seconds=2)
    arrivals = [Arrival(Result(f"r{n}", "failed", "", "no", {}), written) for n in range(3)]

    assert counted.apply_results(arrivals) == ["applied", "unknown", "duplicate"]
    with pytest.raises(RecordsAway):
        counted.apply_results(arrivals[:1])

    for outcome in ("applied", "unknown", "duplicate", "not_handled"):
        assert shown(world.vitals, "results_total", outcome=outcome) == 1
    assert shown(world.vitals, "result_seconds_count") == 1
    assert 2 <= shown(world.vitals, "result_seconds_sum") < 10


def test_what_stands_in_a_bad_result_names_no_series(world):
    world.vitals.set_aside("schema_version '{evil}' is not supported")
    world.vitals.set_aside("unknown_run")

    assert shown(world.vitals, "dead_letters_total", reason="invalid") == 1
    assert shown(world.vitals, "dead_letters_total", reason="unknown_run") == 1
