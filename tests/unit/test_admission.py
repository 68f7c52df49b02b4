"""What becomes of runs that wait for memory: how long, how often, and who hears of it."""

from types import SimpleNamespace

import pytest

from supervisor import admission
from supervisor.admission import AWAY_S, LOOK_EVERY_S, OPEN_FOR_S, PATIENCE_S, Admission
from supervisor.container import Level
from supervisor.inhand import Stage
from supervisor.pool.handle import State
from supervisor.pool.overuse import MemoryLimits
from supervisor.room import Marks

NOBODY = 2**22 + 1  # no process has this pid


class Ledger:
    """The runs in hand, and what was asked of them."""

    def __init__(self):
        self.in_hand, self.given_back, self.stops, self.is_empty = {}, [], 0, True

    def take_no_more(self):
        self.stops += 1

    def give_back(self, slot, because, delay_s):
        self.given_back.append((self.in_hand.pop(slot).run_id, because.split(":")[0], delay_s))

    def take(self, slot, run_id):
        request = SimpleNamespace(plugin="eats")
        self.in_hand[slot] = SimpleNamespace(run_id=run_id, request=request, stage=Stage.WAITING)


class Log:
    def __init__(self):
        self.events = []

    def info(self, event, **_facts):
        self.events.append(event)

    warning = info


@pytest.fixture
def world(monkeypatch):
    """A host of three slots whose first is busy; `world.used` is its memory, of 1000."""
    world = SimpleNamespace(used=100, ledger=Ledger(), log=Log(), looks=0)

    def look():
        world.looks += 1
        return [Level("here", 1000, world.used, 0.0)]

    monkeypatch.setattr(admission, "levels", look)
    world.handles = {slot: handle(slot) for slot in range(3)}
    begin(world.handles[0])
    limits = MemoryLimits(None, 10)
    world.admission = Admission(
        Marks(0.9, 10.0), world.handles, world.ledger, lambda _plugin: limits, world.log
    )
    return world


def handle(slot):
    return SimpleNamespace(
        slot=slot, order=slot, state=State.IDLE, run=None, pid=NOBODY, zygote_pid=NOBODY
    )


def begin(worker):
    worker.state, worker.run = State.BUSY, SimpleNamespace(plugin="eats", used=None)


def test_a_run_begins_where_there_is_room_and_nothing_is_looked_at_twice_in_a_moment(world):
    world.ledger.take(1, "r-1")

    assert world.admission.admit(10.0) == {1}
    assert world.admission.admit(10.1) == {1}
    assert world.looks == 1
    assert world.admission.takes()


def test_a_run_that_waits_too_long_is_given_back_with_a_delay(world):
    world.used = 950
    world.ledger.take(1, "r-1")

    assert world.admission.admit(10.0) == set()
    assert world.admission.admit(10.0 + PATIENCE_S - 0.1) == set()
    assert world.ledger.given_back == []
    assert world.admission.admit(10.0 + PATIENCE_S) == set()

    assert world.ledger.given_back == [("r-1", "memory", AWAY_S)]


def test_one_that_comes_again_stays_and_begins_first(world):
    world.used = 950
    world.ledger.take(1, "r-1")
    world.admission.admit(10.0)
    world.admission.admit(20.0)
    world.ledger.take(1, "r-1")
    world.ledger.take(2, "r-2")

    world.admission.admit(30.0)
    world.admission.admit(30.0 + 2 * PATIENCE_S)
    world.used = 880

    assert [run for run, _, _ in world.ledger.given_back] == ["r-1", "r-2"]
    assert world.admission.admit(50.0) == {1}


def test_nothing_more_is_taken_while_it_is_closed_and_what_waits_is_called_off_once(world):
    world.used = 950

    for now in (10.0, 11.0, 12.0):
        world.admission.admit(now)

    assert not world.admission.takes()
    assert world.ledger.stops == 1
    assert world.admission.next_alarm() == 12.0 + LOOK_EVERY_S


def test_an_idle_host_above_its_mark_takes_one_run(world):
    world.used = 950
    world.handles[0].state, world.handles[0].run = State.IDLE, None
    world.admission.admit(10.0)

    assert world.admission.takes()
    world.ledger.is_empty = False
    assert not world.admission.takes()


def test_what_was_refused_is_asked_again_when_a_run_has_ended(world):
    world.used = 950
    world.ledger.take(1, "r-1")
    world.admission.admit(10.0)
    world.used = 100
    assert world.admission.admit(10.1) == set()

    world.admission.learn(world.handles[0])

    assert world.admission.admit(10.1) == {1}


def test_the_log_tells_of_what_lasts_and_not_of_each_run(world):
    for now, used in ((10, 950), (11, 100), (12, 950), (13, 100), (13 + OPEN_FOR_S, 100)):
        world.used = used
        world.admission.admit(float(now))

    assert world.log.events == ["admission_closed", "admission_opened"]


def test_an_idle_host_sleeps(world):
    world.handles[0].state, world.handles[0].run = State.IDLE, None
    world.admission.admit(10.0)

    assert world.admission.next_alarm() is None


def test_whoever_wants_more_workers_hears_whether_there_is_room(world):
    assert world.admission.refuses(10.0) == ""
    world.used = 895
    assert world.admission.refuses(11.0) == "no_room"  # the one that runs may still need 10
    world.used = 950
    assert world.admission.refuses(12.0) == "memory"
