"""A run that waits becomes sentences: supervisor/explaining, one test a place and a reason."""

from dataclasses import replace

import pytest

from supervisor.explaining.places import explain
from supervisor.streams.located import Waiting
from tests.support.explained import FREE, NOW, PARKED, ago, attempt, facts, host, plugin, queued
from worker.policies import Limits, Rate


def test_an_unknown_run_is_said_to_be():
    (told,) = explain(facts())

    assert told.startswith("Run r-1 is not known: it stands in no stream")


def test_a_queued_run_tells_its_stream_since_when_and_who_is_before():
    assert explain(facts(queued=queued(12)))[:2] == [
        f"Run r-1 is queued in plugin:requests:high, priority high, since {ago(303)} (5m 3s ago).",
        "About 12 runs are before it.",
    ]


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (queued(0), "It is the next one to be taken."),
        (queued(1), "About 1 run is before it."),
        (queued(1000, is_more=True), "More than 1000 runs are before it."),
    ],
)
def test_how_many_are_before_it_is_told_roughly(at, told):
    assert told in explain(facts(queued=at))


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ([], "Nobody takes it: no supervisor is alive on this Redis (next: crewpool up, or "),
        ([host(dead=True)], "Nobody takes it: no supervisor is alive"),
        ([host(phase="paused")], "Nobody takes it now: vm-1-ab12 is paused."),
        (
            [host(), host("vm-2", ("busy", "busy"))],
            "2 supervisors take runs (vm-1-ab12, vm-2), and 1 of 4 workers are free.",
        ),
        (
            [host(states=("busy", "busy")), host("vm-2", phase="draining")],
            "1 supervisor takes runs (vm-1-ab12), and all 2 workers are busy: it waits for one of",
        ),
    ],
)
def test_who_could_take_it_is_told(hosts, told):
    assert explain(facts(hosts, queued=queued()))[-1].startswith(told)


def test_a_queued_run_of_a_paused_plugin_will_be_parked():
    said = explain(
        facts(queued=queued(), plugin=plugin(state="paused", by="me@vm", since=NOW - 60))
    )

    assert (
        f"Its plugin echoes is paused by me@vm since {ago(60)} (1m 0s ago), until crewpool plugins "
        "resume echoes."
    ) in said
    assert "It will be parked when its turn comes, and hold up no other." in said


def test_a_delayed_run_tells_until_when_and_that_it_was_submitted_so():
    waiting = Waiting(3, NOW - 60, NOW + 1800, 0)

    assert explain(facts(waiting=waiting)) == [
        f"Run r-1 is delayed until {ago(-1800)} (in 30m 0s).",
        f"It was submitted for then, {ago(60)} (1m 0s ago).",
        "Then any supervisor puts it to the end of the queue, priority low.",
    ]


def test_a_delayed_run_without_supervisors_says_so():
    said = explain(facts([], waiting=Waiting(2, NOW, NOW - 5, 0)))

    assert said[0] == (
        f"Run r-1 was delayed until {ago(5)} (5s ago), and is promoted with the next take."
    )
    assert said[-1].startswith("But no supervisor is alive on this Redis")


def test_a_retry_tells_the_cause_and_the_next_attempt():
    record = {"attempt": "1", "handed_back_because": "crash: SIGKILL", "attempt_1": attempt()}
    said = explain(facts(record=record, waiting=Waiting(2, NOW - 30, NOW + 2, 0)))

    assert said[1:3] == [
        f"Attempt 1 on vm-9 ended at {ago(30)} (30s ago) with crash: SIGKILL.",
        (
            "It was handed back (crash: SIGKILL): attempt 2 of at most 3 comes next, by the policy "
            "for crash."
        ),
    ]


def test_a_drained_run_starts_the_same_attempt_again():
    record = {"attempt": "2", "handed_back_because": "leaving"}

    assert "It was handed back (leaving): attempt 2 starts anew." in explain(
        facts(record=record, queued=queued())
    )


def parked(limits=FREE, before=0, **state):
    return explain(
        facts(limits=limits, waiting=replace(PARKED, before=before), plugin=plugin(**state))
    )


def test_a_parked_run_tells_since_when_and_that_it_holds_nothing():
    said = parked(state="paused")

    assert said[0] == (
        f"Run r-1 is parked since {ago(20)} (20s ago): it waits for its plugin echoes, and holds "
        "no worker."
    )
    assert "It is the next one of its plugin." in said
    assert "About 3 runs are before it of this plugin alone." in parked(before=3)


def test_parked_for_a_pause_tells_by_whom_and_why():
    said = parked(state="paused", by="me@vm", reason="a bad\nnight.", since=NOW - 60)

    assert (
        f"Its plugin echoes is paused by me@vm since {ago(60)} (1m 0s ago) (a bad night), until "
        "crewpool plugins resume echoes."
    ) in said


def test_parked_for_a_quarantine_tells_until_when():
    said = parked(state="quarantined", until=NOW + 40, crashes=(1.0, 2.0, 3.0))

    assert (
        f"Its plugin echoes is in quarantine after 3 crashes, until {ago(-40)} (in 40s); then one "
        "run is let through."
    ) in said


def test_parked_for_a_probe_names_it_while_it_is_on():
    said = parked(state="probing", probe="r-9", holders=(("r-9", "vm-1-ab12.s0"),))

    assert "Its plugin echoes is on probation: it goes on when run r-9 has ended well." in said
    assert "Nothing keeps its plugin any more: it goes on by itself." in parked(
        state="probing", probe="r-9"
    )


def test_parked_at_the_limit_names_who_runs():
    holders = (("r-7", "vm-1-ab12.s0"), ("r-8", "vm-2-cd34.s1"))
    said = parked(Limits(max_concurrency=2), running=2, holders=holders)

    assert (
        "2 of at most 2 runs of its plugin echoes are in hand: r-7 on vm-1-ab12.s0, r-8 on "
        "vm-2-cd34.s1; it goes on when one of them has ended."
    ) in said


def test_parked_over_the_rate_tells_when_there_is_room():
    limits = Limits(rate=Rate(starts=2, period_s=60.0))
    said = parked(limits, starts=(NOW - 50, NOW - 30, NOW - 10))

    assert (
        "2 runs of its plugin echoes started within 60s, as many as may; the next may start at "
        f"{ago(-30)} (in 30s)."
    ) in said


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(max_concurrency=3), "Nothing keeps its plugin any more: it goes on by itself."),
        (None, "Its plugin does not stand in PLUGIN_DIR here, so that its limits are not known."),
    ],
)
def test_parked_for_nothing_that_can_be_seen_says_so(limits, told):
    assert told in parked(limits, running=2, state="quarantined", until=NOW - 1)
