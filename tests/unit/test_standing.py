"""Phase, size and pause of a supervisor, and what follows from them."""

import pytest

from supervisor.phases import Ask, Phase
from supervisor.scaling import Bounds
from supervisor.settings import Settings
from supervisor.standing import Standing


@pytest.fixture
def standing():
    standing = Standing(4, drain_s=30)
    standing.phase = Phase.RUNNING
    return standing


def test_a_running_one_takes_with_all_its_slots(standing):
    assert (standing.word, standing.taking_size, standing.pool_size) == ("running", 4, 4)
    assert standing.not_running_because() == ""


def test_a_paused_one_keeps_its_workers_and_takes_nothing(standing):
    standing.pause("new disk")

    assert (standing.word, standing.taking_size, standing.pool_size) == ("paused", 0, 4)
    assert standing.not_running_because() == "the supervisor is paused: new disk"
    assert standing.surplus_because == "paused"

    standing.resume()
    assert (standing.word, standing.taking_size) == ("running", 4)
    assert standing.surplus_because == "scaled_down"


def test_a_drain_is_told_before_a_pause(standing):
    standing.pause("")
    assert standing.not_running_because() == "the supervisor is paused"

    assert standing.ask(Ask.DRAIN, now=100)

    assert (standing.word, standing.surplus_because) == ("draining", "leaving")
    assert standing.not_running_because() == "the supervisor is draining"


def test_leaving_begins_once_and_a_drain_has_an_alarm(standing):
    assert standing.drain_alarm is None
    assert not standing.ask(Ask.RELOAD, now=100)
    assert standing.ask(Ask.DRAIN, now=100)
    assert (standing.taking_size, standing.pool_size, standing.drain_alarm) == (0, 4, 130)

    assert not standing.ask(Ask.DRAIN, now=110)
    assert standing.phase is Phase.STOPPING
    assert (standing.pool_size, standing.drain_alarm) == (0, None)


def test_after_a_message_the_first_term_hurries_nobody_and_the_second_does(standing):
    assert standing.ask(Ask.LEAVE, now=100)
    assert not standing.ask(Ask.LEAVE, now=110)
    assert not standing.ask(Ask.DRAIN, now=120)
    assert (standing.phase, standing.drain_alarm) == (Phase.DRAINING, 130)

    standing.ask(Ask.DRAIN, now=125)

    assert standing.phase is Phase.STOPPING


def test_a_message_after_a_term_changes_nothing(standing):
    standing.ask(Ask.DRAIN, now=100)
    standing.ask(Ask.LEAVE, now=110)
    assert (standing.phase, standing.drain_alarm) == (Phase.DRAINING, 130)

    standing.ask(Ask.DRAIN, now=120)

    assert standing.phase is Phase.STOPPING


@pytest.mark.parametrize(("asked", "got"), [(-1, 0), (0, 0), (512, 512), (513, 512)])
def test_a_size_stays_within_its_bounds(standing, asked, got):
    standing.resize(asked)

    assert standing.size == got


def test_without_bounds_the_size_follows_nothing():
    standing = Standing.of(Settings(workers=3))

    assert (standing.size, standing.follows, standing.size_told) == (3, False, "")


def test_a_size_begins_within_its_bounds():
    assert Standing.of(Settings(workers=3, max_workers=8)).size == 3
    assert Standing.of(Settings(workers=3, min_workers=4, max_workers=8)).size == 4
    assert Standing.of(Settings(workers=12, max_workers=8)).size == 8


@pytest.mark.parametrize("size", [0, 9])
def test_a_size_that_is_set_out_of_bounds_stays_until_one_within_comes(size):
    standing = Standing(3, drain_s=30, bounds=Bounds(1, 8))
    assert standing.follows

    standing.resize(size)
    assert (standing.size, standing.follows) == (size, False)
    assert standing.size_told == ", which is out of 1 to 8 and stays until a size within comes"

    standing.resize(2)
    assert standing.follows
    assert standing.size_told == ", which follows the backlog within 1 to 8"
