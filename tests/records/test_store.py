"""Records go forward only, on both databases, whoever comes late or twice."""

from datetime import timedelta
from functools import partial

import pytest

from supervisor.runs.answers import Arrival, RunFilter
from supervisor.runs.errors import CursorInvalid, RunIdTaken
from supervisor.streams.wire import Result
from tests.records.conftest import SECRET
from tests.support.threads import at_once


def completed(run_id, output='{"a": 1}', **meta):
    return Result(run_id, "completed", output, meta=meta)


def failed(run_id, error="no"):
    return Result(run_id, "failed", error=error)


def test_a_run_that_is_asked_for_is_pending_and_in_the_outbox(store, add, clock):
    run = add(user_id=2**64 - 1, settings={"name": "Ada"}, priority="high", delay_s=60).run
    found = store.get(run.plugin_run_id)

    assert (found.status, found.priority, found.attempts) == ("pending", "high", 0)
    assert found.user_id == 2**64 - 1
    assert found.input == {"name": "Ada"}
    assert found.created_at == clock.now
    assert found.due_at == clock.now + timedelta(seconds=60)
    assert (found.published_at, found.output, found.receipt) == (None, None, None)
    assert store.counts() == {"pending": 1, "outbox": 1}


def test_a_time_that_has_passed_is_at_once(add):
    assert add(at=1.0).run.due_at is None


def test_the_same_request_is_recorded_once(store, add):
    first = add(plugin_run_id="r-1", settings={"n": 1.5e300, "_key": SECRET})
    again = add(plugin_run_id="r-1", settings={"n": 1.5e300, "_key": "another"})

    assert (first.what, again.what) == ("added", "known")
    assert again.run.id == first.run.id
    assert store.counts()["pending"] == 1


@pytest.mark.parametrize("other", [{"plugin": "b"}, {"user_id": 8}, {"settings": {"a": 2}}])
def test_the_id_of_another_run_is_refused(add, other):
    add(plugin_run_id="r-1", settings={"a": 1})

    with pytest.raises(RunIdTaken, match="r-1") as raised:
        add(plugin_run_id="r-1", **{"settings": {"a": 1}, **other})

    assert not raised.value.is_retryable


def test_a_unique_run_keeps_others_out_until_it_ends(store, add):
    first = add(unique_for_s=1800)
    second = add(unique_for_s=1800)
    assert (second.what, second.run.id) == ("unique", first.run.id)
    assert add(user_id=8, unique_for_s=1800).what == "added"
    assert add().what == "added"

    store.apply_result(completed(first.run.plugin_run_id))
    assert add(unique_for_s=1800).what == "added"


def test_a_unique_run_that_failed_keeps_nobody_out(store, added, add):
    store.fail(added(unique_for_s=1800), "no such Redis")

    assert add(unique_for_s=1800).what == "added"


def test_a_unique_run_keeps_others_out_for_its_time_at_most(store, add, clock):
    first = add(unique_for_s=1800)
    clock.go_on(1799)
    assert add(unique_for_s=1800).what == "unique"
    clock.go_on(1)

    second = add(unique_for_s=1800)
    assert second.what == "added"
    store.apply_result(completed(first.run.plugin_run_id))
    assert add(unique_for_s=1800).run.id == second.run.id


@pytest.mark.parametrize("facts", [{"plugin_run_id": "r-1"}, {"unique_for_s": 60}])
def test_of_threads_that_ask_at_the_same_time_one_records(store, add, facts):
    store.counts()
    told = at_once(*[lambda: add(**facts).what] * 8)

    assert sorted(told) == ["added"] + [("unique" if "unique_for_s" in facts else "known")] * 7
    assert store.counts()["pending"] == 1


def test_a_result_is_applied_once(store, added, clock):
    run_id = added()
    receipt = {"cpu_s": 1.25, "models": {"gpt": 3}}
    clock.go_on(10)
    result = completed(run_id, '{"a": [1, "ü"]}', attempt=2, duration_s=4.5, receipt=receipt)
    assert store.apply_result(result) == "applied"
    clock.go_on(10)

    assert store.apply_result(result) == "duplicate"
    assert store.apply_result(failed(run_id)) == "duplicate"
    found = store.get(run_id)
    assert (found.status, found.output, found.receipt) == ("completed", {"a": [1, "ü"]}, receipt)
    assert (found.attempts, found.error_message, found.payload) == (2, "", None)
    assert found.duration_s == 4.5
    assert found.completed_at == clock.now - timedelta(seconds=10)


def test_a_failed_result_leaves_its_error_and_no_output(store, added):
    run_id = added()
    store.apply_result(failed(run_id, "Workflow exceeded 3s timeout"))
    found = store.get(run_id)

    assert (found.status, found.output) == ("failed", None)
    assert found.error_message == "Workflow exceeded 3s timeout"


def test_a_result_of_nobody_is_unknown(store):
    assert store.apply_result(completed("nobody")) == "unknown"
    assert store.counts() == {"outbox": 0}


def test_results_are_applied_together(store, added):
    first, second = added(), added()
    arrivals = [completed("nobody"), completed(second), failed(first), completed(second)]

    told = store.apply_results([Arrival(result) for result in arrivals])

    assert told == ["unknown", "applied", "applied", "duplicate"]


def test_consumers_that_apply_the_same_results_do_not_wait_for_each_other(store, added):
    ids = [added() for _ in range(40)]
    arrivals = [Arrival(completed(run_id)) for run_id in ids]
    orders = (arrivals, arrivals[::-1], arrivals[20:] + arrivals[:20], arrivals)
    told = at_once(*[partial(store.apply_results, order) for order in orders])

    assert sorted(what for part in told for what in part) == ["applied"] * 40 + ["duplicate"] * 120


def test_a_run_that_started_is_processing_since_its_first_start(store, added, clock):
    run_id, start = added(), clock.now
    assert store.mark_processing(run_id, start, 1)
    clock.go_on(30)
    assert store.mark_processing(run_id, clock.now, 2)
    assert store.mark_processing(run_id, start, 1)

    found = store.get(run_id)
    assert (found.status, found.started_at, found.attempts) == ("processing", start, 2)


def test_a_run_that_ended_does_not_start_again(store, added, clock):
    run_id = added()
    store.apply_result(completed(run_id))

    assert not store.mark_processing(run_id, clock.now, 1)
    assert not store.fail(run_id, "too late")
    assert store.get(run_id).status == "completed"
    assert not store.mark_processing("nobody", clock.now)


def test_whoever_works_on_a_run_has_seen_it_published(store, added, clock):
    started, ended = added(), added()
    store.mark_processing(started, clock.now)
    store.apply_result(completed(ended))

    assert store.unpublished(10) == []
    assert store.get(started).published_at == clock.now
    assert store.get(ended).published_at == clock.now


def test_a_run_that_was_given_up_and_ran_all_the_same_ends_as_its_result_says(store, added):
    given_up, refused_twice = added(), added()
    for run_id in (given_up, refused_twice):
        assert store.fail(run_id, "its key is lost")

    assert store.apply_result(completed(given_up)) == "applied"
    assert store.apply_result(failed(given_up)) == "duplicate"
    assert store.get(given_up).status == "completed"
    assert store.get(given_up).error_message == ""


def test_the_outbox_is_in_order_and_leaves_fresh_runs_to_their_dispatchers(store, added, clock):
    first = added()
    clock.go_on(10)
    second = added()

    assert [run.plugin_run_id for run in store.unpublished(10)] == [first, second]
    assert [run.plugin_run_id for run in store.unpublished(1)] == [first]
    assert [run.plugin_run_id for run in store.unpublished(9, grace_s=5)] == [first]
    assert [run.plugin_run_id for run in store.unpublished(9, after=1)] == [second]
    store.note_failure(second, "away")
    assert len(store.unpublished(9, grace_s=5)) == 2


def test_a_run_that_a_clock_recorded_which_was_ahead_is_left_to_nobody(store, added, clock):
    clock.go_on(10 * 365 * 86_400)
    run_id = added()
    clock.go_on(-10 * 365 * 86_400)

    assert [run.plugin_run_id for run in store.unpublished(9, grace_s=5)] == [run_id]


def test_behind_a_run_that_could_not_be_published_others_wait(store, added, add):
    first = added()
    assert add().run.publish_failures == 0
    store.note_failure(first, "away")
    assert add().run.publish_failures == 1

    assert store.mark_published([first, "nobody"]) == []
    assert store.mark_published([first]) == []
    found = store.get(first)
    assert (found.payload, found.publish_failures, found.last_publish_error) == (None, 1, "")


def test_a_run_that_left_the_outbox_has_no_failures_to_come(store, added):
    run_id = added()
    store.mark_published([run_id])

    assert not store.note_failure(run_id, "away")
    assert not store.note_skipped(run_id, "no key")
    assert store.get(run_id).last_publish_error == ""


def test_runs_are_listed_from_the_newest_in_pages(store, added, clock):
    ids = [added(user_id=n % 2, plugin="ab"[n % 2]) for n in range(5)]
    page = store.list(limit=2)
    assert [run.plugin_run_id for run in page.runs] == ids[:2:-1]

    page = store.list(limit=2, cursor=page.cursor)
    last = store.list(limit=2, cursor=page.cursor)
    assert [run.plugin_run_id for run in (*page.runs, *last.runs)] == ids[2::-1]
    assert last.cursor is None
    store.fail(ids[0], "no")
    clock.go_on(60)
    late = added(user_id=2**64 - 1)
    for which, expected in (
        (RunFilter(user_id=0), {ids[0], ids[2], ids[4]}),
        (RunFilter(plugin="b"), {ids[1], ids[3]}),
        (RunFilter(statuses=("failed", "completed")), {ids[0]}),
        (RunFilter(since=clock.now), {late}),
        (RunFilter(until=clock.now, user_id=2**64 - 1), set()),
    ):
        assert {run.plugin_run_id for run in store.list(which).runs} == expected


@pytest.mark.parametrize("cursor", ["", "0", "-1", "1; DROP TABLE", "9" * 40, "\0"])
def test_a_cursor_of_nobody_is_refused(store, cursor):
    with pytest.raises(CursorInvalid, match="no cursor"):
        store.list(cursor=cursor)
