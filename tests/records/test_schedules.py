"""Each time of a schedule becomes one run, whoever looks and however often."""

import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import update

from supervisor.runs.cron import Cron
from supervisor.runs.dispatch import Dispatcher
from supervisor.runs.errors import OutboxKeyMissing, OutboxKeyUnfit
from supervisor.runs.models import Schedule
from supervisor.runs.publisher import Publisher
from supervisor.runs.requests import RequestInvalid
from supervisor.runs.scheduler import Scheduler
from supervisor.runs.schedules import NewSchedule, Schedules, run_id_of
from supervisor.runs.sealing import Sealer
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from tests.records.conftest import MOST_BYTES, SECRET
from tests.support.servers import HOST, free_port
from tests.support.threads import at_once
from tests.support.waiting import wait_until

DAY_S = 86_400
SEVEN = Cron("0 7 * * *", "Europe/Berlin")
FIRST = datetime(2026, 11, 23, 6, tzinfo=UTC)  # the clock of the tests stands at noon before


@pytest.fixture
def schedules(store, sealer, clock):
    return Schedules(store, sealer, MOST_BYTES, clock)


@pytest.fixture
def scheduler(schedules, store, sealer, clock, redis_server):
    settings = Settings(redis_url=redis_server.url)
    with Dispatcher(store, Publisher(settings=settings), sealer) as dispatcher:
        yield Scheduler(schedules, dispatcher)


def new(**facts):
    facts = {"cron": SEVEN, "plugin_name": "echoes", "user_id": 7, **facts}
    return NewSchedule(**facts)


def runs(store):
    return [run.plugin_run_id for run in store.list().runs]


def events(caplog, event):
    return [r.getMessage() for r in caplog.records if r.getMessage().startswith(f"{event} ")]


def test_nothing_fires_before_its_time(scheduler, schedules, store, clock):
    schedules.add(new())
    clock.go_on(18 * 3600 - 0.25)  # 7:00 in Berlin is 6:00

    assert 0 < scheduler.look() <= 0.25
    assert runs(store) == []


def test_a_time_that_has_come_becomes_a_run_in_redis(scheduler, schedules, store, clock, world):
    made, is_new = schedules.add(new(settings={"n": 1}, priority="high", user_id=2**64 - 1))
    clock.now = FIRST
    scheduler.look()
    run = store.get(run_id_of(made.id, FIRST))
    ((_, fields),) = world.entries("plugin:requests:high")
    (kept,) = schedules.list()

    assert is_new
    assert run.plugin_run_id in fields["payload"]
    assert (run.plugin_name, run.user_id, run.input) == ("echoes", 2**64 - 1, {"n": 1})
    assert run.published_at is not None
    assert (kept.fired, kept.missed, kept.last_due_at) == (1, 0, FIRST)
    assert kept.last_run_id == run.plugin_run_id
    assert kept.next_due_at == FIRST + timedelta(days=1)


def test_looking_again_fires_nothing_more(scheduler, schedules, store, clock):
    schedules.add(new())
    clock.now = FIRST
    scheduler.look()

    assert scheduler.look() == 1.0
    assert len(runs(store)) == 1


def test_of_several_who_see_the_same_time_one_fires(schedules, store, clock, url, sealer):
    made, _ = schedules.add(new())
    clock.now = FIRST
    seen = schedules.look().due
    with ExitStack() as stores:
        opened = [stores.enter_context(RunStore(url, clock)) for _ in range(4)]
        others = [Schedules(other, sealer, MOST_BYTES, clock) for other in opened]
        fired = at_once(*[partial(other.fire, seen[0], FIRST) for other in others])

    assert len([firing for firing in fired if firing]) == 1
    assert runs(store) == [run_id_of(made.id, FIRST)]


def test_a_run_that_was_fired_and_not_published_waits_in_the_outbox(schedules, store, clock):
    # As a process leaves it that dies right after the firing.
    made, _ = schedules.add(new())
    clock.now = FIRST
    (due,) = schedules.look().due
    schedules.fire(due, FIRST)
    (waiting,) = store.unpublished(10)

    assert waiting.plugin_run_id == run_id_of(made.id, FIRST)


def test_of_missed_times_the_latest_is_made_up_for_and_the_others_are_told(
    scheduler, schedules, store, clock, caplog
):
    made, _ = schedules.add(new())
    clock.now = FIRST + timedelta(days=3, hours=5)
    scheduler.look()
    (kept,) = schedules.list()

    assert runs(store) == [run_id_of(made.id, FIRST + timedelta(days=3))]
    assert (kept.fired, kept.missed, kept.last_missed_at) == (1, 3, clock.now)
    assert kept.next_due_at == FIRST + timedelta(days=4)
    (told,) = events(caplog, "schedule_missed")
    assert "missed=3" in told
    assert "late_s=18000" in told


def test_who_fires_late_says_so_although_nothing_was_skipped(scheduler, schedules, clock, caplog):
    schedules.add(new())
    clock.now = FIRST + timedelta(minutes=2)
    scheduler.look()

    assert "missed=0" in events(caplog, "schedule_missed")[0]


def test_who_fires_in_time_misses_nothing(scheduler, schedules, clock, caplog):
    schedules.add(new())
    clock.now = FIRST + timedelta(seconds=59)
    scheduler.look()

    assert events(caplog, "schedule_missed") == []


def test_one_that_was_removed_fires_no_more(schedules, store, clock):
    made, _ = schedules.add(new())
    clock.now = FIRST
    (due,) = schedules.look().due

    assert schedules.remove(made.id)
    assert schedules.fire(due, FIRST) is None  # also by whoever has seen it before
    assert runs(store) == []
    assert not schedules.remove(made.id)


def test_what_is_added_twice_is_one_and_has_the_later_credentials(
    scheduler, schedules, clock, world
):
    first, _ = schedules.add(new(settings={"a": 1, "_key": "old"}))
    clock.go_on(3600)
    again, is_new = schedules.add(new(settings={"a": 1, "_key": "renewed"}))
    other, _ = schedules.add(new(settings={"a": 2}))
    clock.now = FIRST
    scheduler.look()
    payloads = [fields["payload"] for _, fields in world.entries()]

    assert (again.id, is_new) == (first.id, False)
    assert other.id != first.id
    assert len(payloads) == 2
    assert "renewed" in "".join(payloads)


def test_credentials_are_sealed_and_shown_nowhere(schedules, store):
    schedules.add(new(settings={"_key": SECRET}))
    (kept,) = schedules.list()
    with store.database.reading() as session:
        raw = str(session.connection().exec_driver_sql("SELECT * FROM crewpool_schedules").all())

    assert SECRET not in raw
    assert SECRET not in str(kept.as_data())
    assert kept.as_data()["input"] == {"_key": "***"}


def test_credentials_without_a_key_are_refused(store, clock):
    with pytest.raises(OutboxKeyMissing):
        Schedules(store, None, MOST_BYTES, clock).add(new(settings={"_key": SECRET}))

    assert Schedules(store, None).list() == []


@pytest.mark.parametrize(
    "facts",
    [
        {"settings": {"n": float("nan")}},
        {"settings": {"n": "x" * (MOST_BYTES + 1)}},
        {"plugin_name": "../etc"},
        {"user_id": -1},
        {"priority": "urgent"},
    ],
)
def test_what_could_not_be_published_is_not_kept(schedules, facts):
    with pytest.raises(RequestInvalid):
        schedules.add(new(**facts))

    assert schedules.list() == []


def test_one_that_is_sealed_with_another_key_waits_for_who_has_it(
    scheduler, schedules, store, clock, caplog, tmp_path
):
    other_key = Sealer.of(tmp_path / "other.key")
    elsewhere = Schedules(store, other_key, MOST_BYTES, clock)
    sealed, _ = elsewhere.add(new(settings={"_key": SECRET}))
    plain, _ = schedules.add(new(user_id=8))
    clock.now = FIRST
    scheduler.look()
    scheduler.look()
    errors = {kept.id: kept.last_error for kept in schedules.list()}

    assert runs(store) == [run_id_of(plain.id, FIRST)]
    assert "another key" in errors[sealed.id]
    assert len(events(caplog, "schedule_not_fired")) == 1
    (due,) = elsewhere.look().due
    assert elsewhere.fire(due, FIRST) is not None
    assert {kept.last_error for kept in schedules.list()} == {""}


def test_a_sealed_one_is_told_apart_from_one_that_no_key_opens(schedules, store, clock):
    schedules.add(new(settings={"_key": SECRET}))
    clock.now = FIRST
    (due,) = schedules.look().due

    with pytest.raises(OutboxKeyUnfit, match="it is not set"):
        Schedules(store, None, MOST_BYTES, clock).fire(due, FIRST)


def test_a_broken_schedule_holds_up_no_other(scheduler, schedules, store, clock):
    broken, _ = schedules.add(new())
    whole, _ = schedules.add(new(user_id=8))
    spoilt = update(Schedule).where(Schedule.id == broken.id).values(cron="no cron")
    store.database.change(spoilt)
    clock.now = FIRST

    assert scheduler.look() == 1.0
    assert runs(store) == [run_id_of(whole.id, FIRST)]


def test_while_redis_is_away_what_is_due_waits_in_the_outbox(schedules, store, sealer, clock):
    nowhere = Settings(redis_url=f"redis://{HOST}:{free_port()}/0")
    for user in range(3):
        schedules.add(new(user_id=user))
    clock.now = FIRST
    with Dispatcher(store, Publisher(settings=nowhere), sealer) as dispatcher:
        Scheduler(schedules, dispatcher).look()

    assert store.counts() == {"pending": 3, "outbox": 3}


def test_a_schedule_fires_by_the_real_clock(url, sealer, redis_server):
    stop, now = threading.Event(), datetime.now(UTC)
    with (
        RunStore(url) as store,
        Dispatcher(store, Publisher(settings=Settings(redis_url=redis_server.url))) as dispatcher,
    ):
        schedules = Schedules(store, sealer)
        made, _ = schedules.add(new(cron=Cron("0 0 29 2 *", "UTC")))
        # Its next time shall come in a moment, and the one after it not before the test is over.
        soon = now + timedelta(seconds=1.5)
        of_it = update(Schedule).where(Schedule.id == made.id)
        store.database.change(of_it.values(next_due_at=soon))
        thread = threading.Thread(
            target=Scheduler(schedules, dispatcher).run_for_ever, args=(stop,)
        )
        thread.start()
        try:
            wait_until(lambda: runs(store), what="it has fired")
        finally:
            stop.set()
            thread.join()
        (run,) = store.list().runs

    # Not before its time; how late is the machine's affair.
    assert run.created_at >= soon
