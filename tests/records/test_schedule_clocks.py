"""What moves a schedule beside its line: clocks that are set, or wrong for a moment, and pauses."""

from datetime import UTC, datetime, timedelta

import pytest

from supervisor.runs.cron import Cron
from supervisor.runs.scheduler import LOOKS_AHEAD, Scheduler
from supervisor.runs.schedules import NewSchedule, Schedules, run_id_of
from tests.records.conftest import MOST_BYTES, Clock

FIRST = datetime(2026, 11, 23, 6, tzinfo=UTC)
TEN_YEARS = timedelta(days=3652)
SECOND = timedelta(seconds=1)


class Nobody:
    """Publishes nothing: what is fired waits in the outbox."""

    def dispatch(self, request, _options):
        return type("Told", (), {"what": "waiting"})


@pytest.fixture
def schedules(store, sealer, clock):
    return Schedules(store, sealer, MOST_BYTES, clock)


@pytest.fixture
def scheduler(schedules):
    return Scheduler(schedules, Nobody())


@pytest.fixture
def add_daily(schedules, clock):
    """Add a schedule of 6:00 UTC the day before."""

    def add(line="0 6 * * *"):
        clock.now = FIRST - timedelta(hours=12)
        return schedules.add(NewSchedule(Cron.read(line, "UTC"), "echoes", 7))[0]

    return add


def settle(scheduler, clock):
    """Look as often as it takes to believe a clock."""
    for _ in range(LOOKS_AHEAD):
        clock.go_on(0.01)
        scheduler.look()


def fired(store):
    return {run.plugin_run_id for run in store.list(limit=1000).runs}


def moved_back(caplog):
    told = [r.getMessage() for r in caplog.records]
    return [line for line in told if line.startswith("schedule_moved_back ")]


def test_after_a_clock_was_ahead_a_schedule_fires_at_its_time(
    scheduler, schedules, store, clock, add_daily, caplog
):
    made = add_daily()
    clock.now = FIRST - SECOND + TEN_YEARS
    scheduler.look()
    (early,) = fired(store)
    clock.now = FIRST - timedelta(hours=1)
    settle(scheduler, clock)
    (kept,) = schedules.list()

    assert kept.next_due_at == FIRST
    assert kept.last_error.startswith("moved back: a clock was ahead, at 20")
    assert len(moved_back(caplog)) == 1
    clock.now = FIRST
    scheduler.look()
    assert fired(store) == {early, run_id_of(made.id, FIRST)}
    assert schedules.list()[0].last_error == ""
    assert moved_back(caplog)[1:] == []


def test_a_time_that_came_while_the_clock_was_ahead_is_made_up_for(
    scheduler, schedules, store, clock, add_daily
):
    made = add_daily()
    clock.now = FIRST - SECOND + timedelta(hours=30)
    scheduler.look()
    clock.now = FIRST + SECOND
    settle(scheduler, clock)
    scheduler.look()

    assert run_id_of(made.id, FIRST) in fired(store)
    assert schedules.list()[0].next_due_at == FIRST + timedelta(days=1)


def test_a_time_that_was_fired_before_the_leap_is_not_fired_again(
    scheduler, schedules, store, clock, add_daily
):
    add_daily()
    clock.now = FIRST
    scheduler.look()
    clock.now = FIRST + TEN_YEARS
    scheduler.look()
    before = fired(store)
    clock.now = FIRST + SECOND
    settle(scheduler, clock)
    scheduler.look()

    assert fired(store) == before
    assert schedules.list()[0].next_due_at == FIRST + timedelta(days=1)


def test_after_a_leap_of_hours_each_time_is_one_run(scheduler, store, clock, add_daily):
    made = add_daily("*/15 * * * *")
    clock.now = FIRST
    scheduler.look()
    clock.now = FIRST + timedelta(hours=2)
    scheduler.look()
    clock.now = FIRST + SECOND
    settle(scheduler, clock)
    for minutes in range(5, 151, 5):
        clock.now = FIRST + timedelta(minutes=minutes)
        scheduler.look()

    times = [FIRST + timedelta(minutes=15 * n) for n in range(11)]
    assert fired(store) == {run_id_of(made.id, at) for at in times}


def test_a_clock_that_is_set_back_by_seconds_fires_no_time_again(
    scheduler, schedules, store, clock, add_daily, caplog
):
    made = add_daily()
    clock.now = FIRST
    scheduler.look()
    clock.go_on(-50)
    settle(scheduler, clock)
    clock.now = FIRST + SECOND
    scheduler.look()
    (kept,) = schedules.list()

    assert fired(store) == {run_id_of(made.id, FIRST)}
    assert (kept.fired, kept.next_due_at) == (1, FIRST + timedelta(days=1))
    assert moved_back(caplog) == []


def test_a_clock_that_is_behind_for_a_moment_moves_nothing(
    scheduler, schedules, clock, add_daily, caplog
):
    add_daily()
    clock.now = FIRST
    scheduler.look()
    (before,) = schedules.list()
    clock.now = datetime(1970, 1, 1, tzinfo=UTC)
    for _ in range(LOOKS_AHEAD - 1):
        scheduler.look()
    clock.now = FIRST + SECOND
    scheduler.look()
    clock.now = datetime(1970, 1, 1, tzinfo=UTC)
    scheduler.look()

    assert schedules.list()[0].as_data() == before.as_data()
    assert moved_back(caplog) == []


def test_a_schedule_that_was_added_by_a_clock_that_was_ahead_fires_at_its_time(
    scheduler, schedules, clock
):
    clock.now = FIRST - timedelta(hours=12) + TEN_YEARS
    schedules.add(NewSchedule(Cron.read("0 6 * * *", "UTC"), "echoes", 7))
    clock.now = FIRST - timedelta(hours=12)
    settle(scheduler, clock)
    (kept,) = schedules.list()

    assert kept.next_due_at == FIRST
    assert kept.created_at <= clock.now


def test_of_two_who_move_one_back_one_does(schedules, store, sealer, clock, add_daily):
    add_daily()
    clock.now = FIRST + TEN_YEARS
    look = schedules.look()
    assert schedules.fire(look.due[0], look.at)
    clock.now = FIRST - SECOND
    (ahead,) = schedules.look().ahead

    assert schedules.move_back(ahead, clock.now) == FIRST
    assert schedules.move_back(ahead, clock.now) is None
    assert schedules.look().ahead == []


def test_one_that_is_paused_skips_its_times_until_it_is_resumed(
    scheduler, schedules, store, clock, add_daily
):
    made = add_daily()
    clock.now = FIRST
    (due,) = schedules.look().due
    paused, was_news = schedules.pause(made.id)
    assert (was_news, paused.is_paused, paused.as_data()["next_due_at"]) == (True, True, None)
    assert schedules.fire(due, FIRST) is None  # by whoever has seen it before
    assert schedules.pause(made.id)[1] is False

    clock.now = FIRST + timedelta(days=2, hours=1)
    assert scheduler.look() == 1.0
    resumed, was_news = schedules.resume(made.id)
    assert (was_news, resumed.next_due_at) == (True, FIRST + timedelta(days=3))
    assert schedules.resume(made.id)[1] is False
    clock.now = FIRST + timedelta(days=3)
    scheduler.look()

    assert fired(store) == {run_id_of(made.id, clock.now)}
    assert schedules.list()[0].missed == 0
    assert schedules.pause("nobody") is schedules.resume("nobody") is None


def test_one_that_is_paused_stays_so_whatever_a_clock_did(scheduler, schedules, clock, add_daily):
    made = add_daily()
    clock.now = FIRST + TEN_YEARS
    scheduler.look()
    schedules.pause(made.id)
    clock.now = FIRST
    settle(scheduler, clock)

    assert schedules.list()[0].is_paused


def test_a_lease_that_a_clock_took_which_was_ahead_is_free(store, clock):
    clock.now = FIRST + TEN_YEARS
    assert store.leases.take("name", "who died then", 10)
    clock.now = FIRST

    assert store.leases.take("name", "another", 10)
    assert not store.leases.take("name", "a third", 10)


def test_the_time_is_that_of_the_database_and_no_matter_of_who_looks(store, sealer, monkeypatch):
    schedules = Schedules(store, sealer)
    with store.database.reading() as session:
        now = store.database.now(session)
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=60)
    assert now.utcoffset() == timedelta(0)
    monkeypatch.setattr(store.database, "now", lambda _session: Clock().now)

    assert schedules.look().at == Clock().now
