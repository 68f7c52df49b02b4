"""Who killed a worker: the kernel, for want of memory, or somebody else."""

import signal

import pytest

from supervisor.pool.oom import OomWatch, count_in, oom_kills
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


@pytest.mark.parametrize(
    ("own", "counter"),
    [
        ("9:cpu,memory:/pods/one\n0::/\n", "memory/pods/one/memory.oom_control"),
        ("9:cpu,memory:/of/the/host\n0::/\n", "memory/memory.oom_control"),
        ("0::/slice/two\n", "slice/two/memory.events"),
        ("0::/slice/leaf-without-memory\n", "slice/memory.events"),
        ("0::/\n", "memory.events"),
    ],
)
def test_the_counter_of_our_own_cgroup_or_of_the_next_above_is_read(tmp_path, own, counter):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(own)
    (tmp_path / "proc/vmstat").write_text("oom_kill 100\n")
    file = tmp_path / "sys/fs/cgroup" / counter
    file.parent.mkdir(parents=True)
    file.write_text("oom 9\noom_kill 7\n")

    assert oom_kills(tmp_path) == 7


def test_without_a_cgroup_the_machine_says_how_many_were_killed(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 3\noom_kill 4\n")

    assert oom_kills(tmp_path) == 4
    assert oom_kills(tmp_path / "elsewhere") == 0


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
