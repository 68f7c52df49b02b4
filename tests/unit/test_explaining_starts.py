"""A run that was started becomes sentences: supervisor/explaining."""

import json
from dataclasses import replace

import pytest

from supervisor.explaining.places import explain
from tests.support.explained import (
    ALIVE,
    HELD,
    NOW,
    PARKED,
    RUNNING,
    ago,
    attempt,
    facts,
    host,
    queued,
)


def running(hosts=(ALIVE,), held=HELD, record=RUNNING, **more):
    return explain(facts(hosts, held=held, record=record, **more))


def test_a_running_one_tells_where_since_when_and_when_it_is_killed():
    progress = {"task": "2", "tasks": "3", "agent": "Writer", "tool": "search"}

    assert running(record=RUNNING | progress | {"attempt_1": attempt()}) == [
        f"Run r-1 is running on vm-1-ab12, slot s3, attempt 2, since {ago(41)} (41s ago).",
        f"Attempt 1 on vm-9 ended at {ago(30)} (30s ago) with crash: SIGKILL.",
        "It is at task 2 of 3, agent Writer, tool search.",
        f"It is killed at {ago(-259)} (in 4m 19s) if it has not ended by then.",
        "Its supervisor is alive: its last heartbeat was 2s ago.",
    ]


def test_one_that_was_just_taken_is_about_to_start():
    old = {"state": "pending", "worker": "vm-0.s0", "entry_id": "1-0", "attempt": "1"}

    assert running(record=old)[0] == (
        f"Run r-1 was taken by vm-1-ab12, slot s3, {ago(42)} (42s ago), and is about to start."
    )


def test_a_state_that_another_supervisor_wrote_late_is_not_believed():
    assert running(record=RUNNING | {"state": "pending"})[0].startswith("Run r-1 is running on")


def test_one_that_was_cancelled_says_who_kills_it():
    said = running(cancelled_at=NOW - 3)

    assert (
        f"It was cancelled at {ago(3)} (3s ago): its supervisor kills it as soon as it hears of it."
    ) in said


def test_of_a_dead_supervisor_the_lease_and_what_follows_are_told():
    dead = host(beat_s=12, dead=True)
    said = running([dead, host("vm-2")], replace(HELD, idle_s=11.0))

    assert said[-2:] == [
        (
            f"Its supervisor vm-1-ab12 was last seen {ago(12)} (12s ago): it is dead, or cut "
            "off from Redis."
        ),
        (
            "Its lease lapses in 4s; then another supervisor reclaims it, and starts attempt 3 "
            "of at most 3."
        ),
    ]


def test_a_lost_run_without_attempts_left_is_buried_and_nobody_does_it_alone():
    said = running([], replace(HELD, idle_s=20.0), RUNNING | {"attempt": "3"})

    assert "Its supervisor vm-1-ab12 has no heartbeat: it is dead, or cut off from Redis." in said
    assert (
        "Its lease lapsed 5s ago; then another supervisor reclaims it, and buries it: a lost run "
        "may start 3 times."
    ) in said
    assert said[-1].startswith("But no supervisor is alive on this Redis")


def test_a_lease_that_its_living_owner_does_not_renew_is_told():
    assert "But it has not renewed the lease for 20s." in running(held=replace(HELD, idle_s=20.0))


def test_one_that_is_being_reclaimed_says_by_whom():
    (told,) = running(held=replace(HELD, owner="vm-2.sweep"), record={})

    assert told == "Run r-1 was lost by its supervisor; vm-2 is reclaiming it."


def test_one_that_another_program_took_says_so():
    assert running(held=replace(HELD, owner="somebody"), record={}) == [
        (
            "Run r-1 was taken by somebody, another program that reads for our group, "
            f"{ago(42)} (42s ago)."
        ),
        "If that is silent for a lease, a supervisor reclaims the run.",
    ]


ENDED = {"worker": "vm-1-ab12.s3", "attempt": "3", "started_at": f"{NOW - 50}"}
ENDED |= {"ended_at": f"{NOW - 10}"}


def test_a_completed_run_tells_when_where_and_how_long():
    record = ENDED | {"state": "completed", "attempt": "1", "cause": "completed"}

    assert explain(facts(record=record, has_result=True, has_entry=True)) == [
        f"Run r-1 completed at {ago(10)} (10s ago).",
        "It ran on vm-1-ab12.s3 for 40s, attempt 1.",
        "Its result stands in plugin:results.",
    ]


def test_a_failed_run_tells_its_cause_its_attempts_and_its_dead_letter():
    record = ENDED | {"state": "failed", "error": "Worker died", "cause": "crash"}
    record |= {"attempt_1": attempt(ended_s=90), "attempt_3": attempt()}

    assert explain(facts(record=record, has_result=True, has_entry=False, letter_id="7-0")) == [
        f"Run r-1 failed at {ago(10)} (10s ago): Worker died.",
        "It ran on vm-1-ab12.s3 for 40s, attempt 3.",
        "The cause is crash, for which a run starts at most 3 times.",
        f"Attempt 1 on vm-9 ended at {ago(90)} (1m 30s ago) with crash: SIGKILL.",
        "Its result could not be found any more in plugin:results.",
        (
            "Its dead letter is 7-0 (crewpool dlq show 7-0); nothing more happens to it unless "
            "that is replayed."
        ),
    ]


def test_one_without_a_record_has_had_its_result():
    assert explain(facts(has_result=True)) == ["Run r-1 has had its result."]


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ([host()], "A supervisor that tidies up gives it a failed result within minutes."),
        ([], "It would get a failed result from a supervisor, but no supervisor is alive on this"),
    ],
)
def test_one_whose_entry_was_removed_is_answered_by_a_supervisor(hosts, told):
    said = explain(facts(hosts, record={"state": "pending"}))

    assert said[0].startswith("Run r-1 was pending at last, and now stands in no stream")
    assert said[-1].startswith(told)


@pytest.mark.parametrize("rubbish", ["rubbish", "nan", "1e999", "-1", ""])
@pytest.mark.parametrize(
    "where", [{"held": HELD}, {"queued": queued()}, {"waiting": PARKED}, {"has_result": True}, {}]
)
def test_whatever_stands_in_a_record_makes_no_error(rubbish, where):
    names = (*RUNNING, *ENDED, "task", "tasks", "state", "error", "handed_back_because", "agent")
    record = dict.fromkeys(names, rubbish) | {"attempt_1": "[]", "attempt_2": "{", "attempt_x": ""}
    record |= {"attempt_3": json.dumps(dict.fromkeys(("started_at", "ended_at", "slot"), rubbish))}

    for state in (rubbish, "running", "failed"):
        assert explain(facts(record=record | {"state": state}, **where))
