"""How many CPUs may be used, how busy they are, and where a worker is put."""

import os
from pathlib import Path

import pytest

from supervisor.cpus import Meter, quota, usable

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 {part} /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
33 31 0:30 {part} /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
41 31 0:38 {part} /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
PURE = "29 23 0:26 {part} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
STAT = """\
cpu  900 0 0 9000 0 0 0 0 0 0
cpu0 {0} 10 20 5000 700 3 4 3 0 0
cpu1 {1} 0 0 4000 0 0 0 0 0 0
cpu2 777777 0 0 0 0 0 0 0 0 0
intr 1 2 3
"""


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


class Root(type(Path())):
    """A folder that looks like / to whoever asks for cgroups."""

    def mounts(self, text, own, part="/"):
        self.write("proc/self/mountinfo", text.format(part=part))
        self.write("proc/self/cgroup", own)

    def write(self, name, text):
        (self / name).parent.mkdir(parents=True, exist_ok=True)
        (self / name).write_text(text.rstrip("\n") + "\n")


def test_without_cgroups_the_scheduler_says_it(root):
    assert quota(root) is None
    assert usable(root, {0, 1, 5}) == 3
    assert usable() == len(os.sched_getaffinity(0)) or quota() is not None


@pytest.mark.parametrize(
    ("text", "cpus", "workers"),
    [
        ("350000 100000", 3.5, 3),
        ("20000 100000", 0.2, 1),
        ("1600000 100000", 16, 8),
        ("max 100000", None, 8),
        ("", None, 8),
        ("0 100000", None, 8),
        ("100000", None, 8),
        ("-1 100000", None, 8),
    ],
)
def test_a_quota_is_rounded_down_and_at_least_one(root, text, cpus, workers):
    root.mounts(PURE, "0::/crew\n")
    root.write("sys/fs/cgroup/crew/cpu.max", text)

    assert getattr(quota(root), "cpus", None) == cpus
    assert usable(root, range(8)) == workers


def test_the_tightest_quota_on_the_way_up_counts_with_its_own_use(root):
    root.mounts(PURE, "0::/a/b/c\n")
    root.write("sys/fs/cgroup/a/b/c/cpu.max", "max 100000")
    root.write("sys/fs/cgroup/a/b/cpu.max", "200000 100000")
    root.write("sys/fs/cgroup/a/cpu.max", "600000 100000")

    found = quota(root)

    assert found.cpus == 2
    assert found.usage == root / "sys/fs/cgroup/a/b/cpu.stat"


@pytest.mark.parametrize(
    ("own", "part"),
    [("/docker/4f2a", "/docker/4f2a"), ("/../../elsewhere", "/"), ("/docker/4f2a", "/other")],
    ids=["its-part-is-mounted", "outside-of-the-namespace", "another-part-is-mounted"],
)
def test_in_a_container_the_mount_is_what_is_seen(root, own, part):
    root.mounts(PURE, f"0::{own}\n", part)
    root.write("sys/fs/cgroup/cpu.max", "200000 100000")

    assert usable(root, range(8)) == 2


def test_version_1_is_read_where_its_controller_is_mounted(root):
    root.mounts(HYBRID, "4:cpu,cpuacct:/pod/one\n0::/\n")
    root.write("sys/fs/cgroup/cpu/pod/one/cpu.cfs_quota_us", "-1")
    root.write("sys/fs/cgroup/cpu/pod/one/cpu.cfs_period_us", "100000")
    root.write("sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "300000")
    root.write("sys/fs/cgroup/cpu/pod/cpu.cfs_period_us", "100000")

    found = quota(root)

    assert found.cpus == 3
    assert found.usage == root / "sys/fs/cgroup/cpuacct/pod/one/cpuacct.usage"


def test_the_share_of_a_quota_is_what_the_cgroup_used_of_it(root):
    root.mounts(PURE, "0::/\n")
    root.write("sys/fs/cgroup/cpu.max", "200000 100000")
    root.write("sys/fs/cgroup/cpu.stat", "usage_usec 1000000\nuser_usec 5")
    meter = Meter(root, range(8))
    assert meter.share(100.0) == 0
    root.write("sys/fs/cgroup/cpu.stat", "usage_usec 7000000\nuser_usec 5")

    assert meter.share(104.0) == pytest.approx(6 / 4 / 2)
    assert meter.share(104.0) == 0


def test_version_1_counts_in_nanoseconds(root):
    root.mounts(HYBRID, "4:cpu:/\n5:cpuacct:/\n")
    root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000")
    root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    root.write("sys/fs/cgroup/cpuacct/cpuacct.usage", "5000000000")
    meter = Meter(root, range(8))
    meter.share(10.0)
    root.write("sys/fs/cgroup/cpuacct/cpuacct.usage", "6000000000")

    assert meter.share(12.0) == pytest.approx(0.5)


def test_without_a_quota_the_cpus_that_we_may_use_are_watched(root):
    root.write("proc/stat", STAT.format(100, 100))
    meter = Meter(root, {0, 1})
    meter.share(10.0)
    root.write("proc/stat", STAT.format(100 + 2 * os.sysconf("SC_CLK_TCK"), 100))

    assert meter.share(12.0) == pytest.approx(0.5)


def test_files_that_vanish_count_as_no_use(root):
    meter = Meter(root, {0})
    meter.share(1.0)

    assert meter.share(2.0) == 0


def test_this_machine_can_be_read():
    meter = Meter()
    meter.share(0.0)

    assert meter.share(1e9) >= 0
