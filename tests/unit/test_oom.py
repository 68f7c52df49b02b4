"""Who killed a worker: the kernel, for want of memory, or somebody else."""

import signal

import pytest

from supervisor.pool.oom import OomWatch, _files, count_in
from supervisor.pool.reaper import Corpse


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 3\noom 2\noom_kill 7\noom_group_kill 0\n", 7),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("oom_kill_disable 0\nunder_oom 0\n", None),
        ("oom_kill many\n", None),
        ("", None),
    ],
)
def test_the_counter_is_found_by_its_whole_name(tmp_path, text, count):
    file = tmp_path / "memory.events"
    file.write_text(text)

    assert count_in(file) == count


def test_a_file_that_is_not_there_counts_nothing(tmp_path):
    assert count_in(tmp_path / "none") is None


def test_both_versions_of_cgroups_are_looked_up(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("9:cpu,memory:/pods/one\n8:pids:/\n0::/slice/two\n")

    places = [str(path.relative_to(tmp_path)) for path in _files(own, tmp_path)]

    assert places == [
        "memory/pods/one/memory.oom_control",
        "memory/memory.oom_control",
        "slice/two/memory.events",
        "memory.events",
    ]


def test_each_kill_of_the_kernel_explains_one_death():
    counts = iter([5, 7, 7, 7])
    watch = OomWatch(lambda: next(counts))
    killed = Corpse(1, signal.SIGKILL)

    assert [watch.explains(killed) for _ in range(3)] == [True, True, False]


def test_what_ended_otherwise_was_not_the_kernels_doing():
    counts = iter([0, 1])
    watch = OomWatch(lambda: next(counts))

    assert not watch.explains(Corpse(1, signal.SIGSEGV))
    assert not watch.explains(Corpse(1, 0))
    assert watch.explains(Corpse(1, signal.SIGKILL))
