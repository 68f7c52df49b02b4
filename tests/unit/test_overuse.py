"""How often runs are looked at, and what belongs to them."""

import pytest

from supervisor.limits import memory_limits
from supervisor.pool.hardkill import Place
from supervisor.pool.overuse import LONGEST_S, SHORTEST_S, MemoryLimits, Overuse, _families, pause_s
from supervisor.worker_settings import WorkerSettings
from worker.plugins import Catalogue, Manifest, Plugin

MB = 2**20


@pytest.mark.parametrize(
    ("used_mb", "hard_mb", "pause"),
    [(100, 4000, LONGEST_S), (472, 600, 0.125), (599, 600, SHORTEST_S), (700, 600, SHORTEST_S)],
)
def test_a_run_is_looked_at_when_it_could_be_full_at_the_earliest(used_mb, hard_mb, pause):
    assert pause_s(used_mb * MB, hard_mb * MB) == pytest.approx(pause)


def test_all_that_is_below_a_worker_belongs_to_it():
    places = {pid: Place(parent, 0, 0) for pid, parent in {10: 1, 11: 10, 12: 11, 20: 1}.items()}

    assert _families(places) == {10: [11, 12], 11: [12]}


def test_a_ring_that_comes_of_reading_while_pids_are_used_again_ends():
    places = {10: Place(11, 0, 0), 11: Place(10, 0, 0), 12: Place(12, 0, 0)}

    assert _families(places) == {10: [11], 11: [10]}


def test_nothing_is_looked_at_while_no_run_has_a_limit():
    overuse = Overuse(lambda _plugin: MemoryLimits())

    assert overuse.next_alarm() is None
    assert overuse.found([], 1e9) == []


def test_what_a_plugin_says_of_memory_goes_over_the_settings(tmp_path):
    manifest = Manifest(name="own", memory_hard="100MiB")
    own = Plugin("own", tmp_path, manifest, {})
    settings = WorkerSettings(memory_soft="50MiB", memory_hard="200MiB")
    catalogue = Catalogue({"own": own})

    assert memory_limits(catalogue, settings, "own") == MemoryLimits(50 * MB, 100 * MB)
    assert memory_limits(catalogue, settings, "other") == MemoryLimits(50 * MB, 200 * MB)
    assert memory_limits(catalogue, WorkerSettings(), "other") == MemoryLimits()
