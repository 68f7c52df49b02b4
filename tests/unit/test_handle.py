"""One worker as the supervisor sees it, at the other end of a real socketpair."""

import pytest

from supervisor.pool.deadlines import Deadline
from supervisor.pool.handle import Handle, State
from supervisor.pool.overdue import verdict_on
from worker.protocol import Assignment, Outcome, Progress, encode

RUN = Assignment(run_id="r-1", plugin="p", attempt=1, user_id=1, settings={})


@pytest.fixture
def handle():
    handle = Handle(0, 1, 0.0, 1)
    handle.state = State.IDLE
    handle.assign(RUN, 0.0, Deadline(10.0, 10.0))
    yield handle
    handle.given_away()
    handle.close()


def say(handle, data):
    handle._given[0].sendall(data)
    handle.read(1.0)


def test_of_progress_in_a_row_the_last_one_counts(handle):
    frames = b"".join(encode(Progress(run_id="r-1", task=n)) for n in range(500))
    outcome = Outcome(run_id="r-1", ended="completed", output="{}")

    say(handle, frames + encode(outcome))

    assert list(handle.inbox) == [Progress(run_id="r-1", task=499), outcome]


def test_progress_of_another_run_takes_the_place_of_none(handle):
    words = [Progress(run_id=run, task=1) for run in ("r-0", "r-1", "r-0")]

    say(handle, b"".join(map(encode, words)))

    assert list(handle.inbox) == words


def test_one_that_talks_without_end_is_at_fault(handle):
    some = encode(Progress(run_id="r-1", task=1)) * 500
    say(handle, some)
    assert verdict_on(handle, 1.0, 60.0) == ""

    for _ in range(4):
        say(handle, some)

    assert verdict_on(handle, 1.0, 60.0) == "broken_protocol"


def test_a_worker_that_breaks_its_frames_is_at_fault(handle):
    say(handle, b"\xff\xff\xff\xff")

    assert verdict_on(handle, 1.0, 60.0) == "broken_protocol"


def test_one_whose_frame_broke_off_when_its_stacks_were_asked_for_has_overrun(handle):
    handle.run.deadline = handle.run.deadline.asked(10.0)
    say(handle, b"\xff\xff\xff\xff")

    assert verdict_on(handle, 10.01, 60.0) == "timeout"
