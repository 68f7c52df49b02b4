"""How many slots there should be: up with the backlog, down after a minute without need."""

import pytest

from supervisor.scaling import EVERY_S, SATURATED, WINDOW_S, Bounds, Load, Scaling


class Site:
    """A size that is asked for every two seconds, as the loop does."""

    def __init__(self, size=1, fewest=1, most=16):
        self.size = size
        self.now = 1000.0
        self._scaling = Scaling(Bounds(fewest, most))

    def look(self, busy=0, backlog=0, *, cpu=0.0, takes=True):
        """Look once; return the size and because of what it is."""
        load = Load(busy, backlog, cpu, takes)
        self.size, because = self._scaling.wanted(self.size, load, self.now)
        self.now += EVERY_S
        return self.size, because

    def look_for(self, seconds, **load):
        """Look for so long; return the sizes that were seen, without repetitions."""
        sizes = [self.look(**load)[0] for _ in range(int(seconds / EVERY_S))]
        return sorted(set(sizes), key=sizes.index)


def test_a_backlog_doubles_the_slots_until_each_run_has_one():
    site = Site()
    sizes = [site.look(busy=site.size, backlog=11 - site.size)[0] for _ in range(6)]

    assert sizes == [2, 4, 8, 11, 11, 11]


def test_most_is_most():
    site = Site(size=3, most=4)

    assert site.look(busy=3, backlog=500) == (4, "backlog")
    assert site.look(busy=4, backlog=500) == (4, "")


def test_while_a_slot_is_idle_or_boots_no_other_is_wanted():
    assert Site(size=4).look(busy=3, backlog=100) == (4, "")


def test_without_a_backlog_full_slots_are_enough():
    assert Site(size=4).look(busy=4) == (4, "")


@pytest.mark.parametrize("reason", [{"cpu": SATURATED}, {"takes": False}], ids=["cpu", "takes"])
def test_nothing_grows_when_another_crew_would_not_run(reason):
    site = Site(size=4)

    assert site.look(busy=4, backlog=100, **reason) == (4, "")
    assert site.look(busy=4, backlog=100) == (8, "backlog")


def test_what_was_not_needed_for_a_minute_is_given_up():
    site = Site(size=8, fewest=2)

    assert site.look_for(WINDOW_S, busy=3) == [8]
    assert site.look(busy=3) == (3, "idle")
    assert site.look_for(3 * WINDOW_S, busy=0) == [3, 2]


def test_a_peak_within_the_minute_keeps_its_slots():
    site = Site(size=8)
    site.look_for(WINDOW_S, busy=1)
    assert site.look(busy=6)[0] == 6, "the peak is known when the rest goes"

    assert site.look_for(WINDOW_S - EVERY_S, busy=1) == [6]
    assert site.look_for(WINDOW_S, busy=1) == [6, 1]


def test_runs_that_wait_are_a_need_though_the_cpu_is_busy():
    site = Site(size=8)

    assert site.look_for(2 * WINDOW_S, busy=4, backlog=9, cpu=1.0) == [8]


def test_what_somebody_sets_within_the_bounds_is_watched_for_a_minute():
    site = Site(size=2)
    site.look_for(WINDOW_S)
    site.size = 6

    assert site.look_for(WINDOW_S) == [6]
    assert site.look()[0] == 1


@pytest.mark.parametrize("size", [0, 1, 20])
def test_what_somebody_sets_out_of_bounds_stays(size):
    site = Site(size=size, fewest=2, most=16)

    assert site.look_for(3 * WINDOW_S, busy=size, backlog=100) == [size]
    assert site.look_for(3 * WINDOW_S) == [size]


def test_memory_of_needs_is_bounded():
    site = Site()
    site.look_for(20 * WINDOW_S, busy=1)

    assert len(site._scaling._needs) <= WINDOW_S / EVERY_S + 1
