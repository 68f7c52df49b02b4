"""A run that waits for memory, in sentences; and heartbeats that anybody may have written."""

import pytest

from supervisor.cli.wording import memory
from supervisor.explaining.places import explain
from tests.support.explained import HELD, facts, host, queued

FULL = {"closed": "no_room", "because": "230.4 MiB of 256.0 MiB in use", "waiting": ["r-1"]}


def full(told=FULL):
    seen = host(states=("busy", "idle"))
    seen.snapshot["memory"] = told
    return seen


def test_a_run_that_was_taken_and_waits_for_memory_says_so():
    said = explain(facts([full()], held=HELD))

    assert said[1].startswith(
        "It waits for memory there (no_room: 230.4 MiB of 256.0 MiB in use): it begins when"
    )


def test_a_run_that_was_taken_and_does_not_wait_says_nothing_of_memory():
    assert "memory" not in " ".join(explain(facts([full(FULL | {"waiting": []})], held=HELD)))


def test_hosts_that_are_full_take_no_run():
    (*_, told) = explain(facts([full()], queued=queued()))

    assert told == (
        "Nobody takes it now: vm-1-ab12 has no memory for it "
        "(no_room: 230.4 MiB of 256.0 MiB in use)."
    )


def test_one_that_is_not_full_takes_it():
    (*_, told) = explain(facts([full(), host("vm-2")], queued=queued()))

    assert told.startswith("2 supervisors take runs")


@pytest.mark.parametrize("told", [None, 7, [], {"closed": ""}, {"waiting": "r-1"}, "full"])
def test_what_no_supervisor_writes_is_passed_over(told):
    assert memory({"memory": told}) == ""
    assert "memory" not in " ".join(explain(facts([full(told)], held=HELD)))
