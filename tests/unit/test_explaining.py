"""Facts become sentences: supervisor/explaining, one test a place and a reason."""

import json
from dataclasses import replace

import pytest

from supervisor.explaining.facts import Facts
from supervisor.explaining.places import explain
from supervisor.streams.inspect import HostSeen
from supervisor.streams.located import Held, Located, PluginFacts, Queued, Waiting
from supervisor.streams.orders import PluginState
from supervisor.times import clock
from worker.policies import Limits, Rate, Retry

NOW = 1_800_000_000.0
RETRIES = {"crash": Retry(attempts=3), "lost": Retry(attempts=3), "exception": Retry(attempts=1)}
RUNNING = {"state": "running", "worker": "vm-1-ab12.s3", "entry_id": "5-0", "attempt": "2"}
RUNNING |= {"started_at": f"{NOW - 41}", "timeout_s": "300"}
HELD = Held("plugin:requests", "5-0", "vm-1-ab12.s3", NOW - 42, 1.0)


def ago(length_s):
    return clock(NOW - length_s)


def host(name="vm-1-ab12", states=("busy", "idle"), phase="running", beat_s=2.0, *, dead=False):
    workers = [{"slot": n, "state": state} for n, state in enumerate(states)]
    snapshot = None if dead else {"phase": phase, "workers": workers}
    return HostSeen(name, NOW - beat_s, snapshot)


ALIVE = host()
FREE = Limits()


def facts(hosts=(ALIVE,), limits=FREE, **located):
    letter = {k: located.pop(k) for k in ("letter_id", "has_entry") if k in located}
    run = Located("r-1", NOW, **located)
    return Facts(run, hosts, limits, RETRIES, **letter)


def queued(before=0, *, is_more=False, since_s=303):
    entry_id = f"{(NOW - since_s) * 1000:.0f}-0"
    return Queued("plugin:requests:high", entry_id, 1, before, is_more)


def plugin(running=0, starts=(), holders=(), **state):
    return PluginFacts("echoes", PluginState(**state), running, starts, holders)


def attempt(cause="crash", error="crash: SIGKILL", ended_s=30):
    body = {"cause": cause, "error": error, "host": "vm-9", "slot": 0, "ended_at": NOW - ended_s}
    return json.dumps(body)


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
        f"Attempt 1 on vm-9 ended at {ago(30)} (30s ago) with crash: crash: SIGKILL.",
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


PARKED = Waiting(2, NOW - 20, None, 0)


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


def running(hosts=(ALIVE,), held=HELD, record=RUNNING, **more):
    return explain(facts(hosts, held=held, record=record, **more))


def test_a_running_one_tells_where_since_when_and_when_it_is_killed():
    progress = {"task": "2", "tasks": "3", "agent": "Writer", "tool": "search"}

    assert running(record=RUNNING | progress | {"attempt_1": attempt()}) == [
        f"Run r-1 is running on vm-1-ab12, slot s3, attempt 2, since {ago(41)} (41s ago).",
        f"Attempt 1 on vm-9 ended at {ago(30)} (30s ago) with crash: crash: SIGKILL.",
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
        f"Attempt 1 on vm-9 ended at {ago(90)} (1m 30s ago) with crash: crash: SIGKILL.",
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
