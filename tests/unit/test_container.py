"""How much memory we may use: the files of both versions of cgroups, and of the machine."""

import pytest

from supervisor.container import MACHINE, Level, kills_all, levels, tightest

MB = 2**20
MEMINFO = "MemTotal:       4194304 kB\nMemFree: 1 kB\nMemAvailable:   1048576 kB\n"
NONE_V1 = 0x7FFFFFFFFFFFF000


@pytest.fixture
def kernel(tmp_path):
    """A machine of 4 GiB, of which 1 GiB is free; `write` puts files below its root."""

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(str(text))
        return tmp_path

    write({"proc/meminfo": MEMINFO})
    return write


def v2(path, limit, used, idle=0, **more):
    folder = f"sys/fs/cgroup{path}"
    return {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.current": used,
        f"{folder}/memory.stat": f"anon 5\nactive_file 7\ninactive_file {idle}\n",
        **{f"{folder}/memory.{name}": text for name, text in more.items()},
    }


def v1(path, limit, used, idle=0):
    folder = f"sys/fs/cgroup/memory{path}"
    return {
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": used,
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {idle}\n",
    }


def test_what_is_in_use_is_told_without_files_that_nobody_reads(kernel):
    root = kernel({"proc/self/cgroup": "0::/\n", **v2("", 512 * MB, 400 * MB, 100 * MB)})

    (level,) = levels(root)

    assert (level.limit_bytes, level.used_bytes) == (512 * MB, 300 * MB)
    assert level.room_bytes(0.75) == 84 * MB


def test_version_1_is_read_with_all_that_is_below_it(kernel):
    root = kernel({"proc/self/cgroup": "4:cpu,memory:/pod\n0::/\n", **v1("/pod", 512, 300, 50)})

    (level,) = levels(root)

    assert (level.limit_bytes, level.used_bytes) == (512, 250)


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/a/b\n", {**v2("/a/b", 900, 100), **v2("/a", 500, 400), **v2("", "max", 9999)}),
        ("7:memory:/a/b\n", {**v1("/a/b", 900, 100), **v1("/a", 500, 400), **v1("", NONE_V1, 9)}),
    ],
)
def test_all_bounds_above_us_hold_and_the_one_with_the_least_room_counts(kernel, own, files):
    root = kernel({"proc/self/cgroup": own, **files})

    found = levels(root)

    assert [level.limit_bytes for level in found] == [900, 500]
    assert tightest(found, 0.9).limit_bytes == 500


def test_the_tightest_is_that_with_the_least_room_and_not_that_with_the_least_left_in_percent():
    wide, narrow = Level("wide", 100_000, 85_000, 0.0), Level("narrow", 1000, 500, 0.0)

    assert tightest([wide, narrow], 0.9) is narrow
    assert tightest([], 0.9) is None


def test_where_the_kernel_begins_to_slow_us_down_is_a_limit_too(kernel):
    root = kernel({"proc/self/cgroup": "0::/\n", **v2("", 1000, 10, high=600)})

    assert levels(root)[0].limit_bytes == 600


def test_a_path_of_the_host_leads_to_the_part_that_is_mounted_here(kernel):
    root = kernel({"proc/self/cgroup": "0::/../../kubepods/x\n", **v2("", 700, 10)})

    assert [level.limit_bytes for level in levels(root)] == [700]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n", **v2("", "max", 300)},
        {"proc/self/cgroup": "7:memory:/\n", **v1("", NONE_V1, 300)},
        {"proc/self/cgroup": "0::/\n", **v2("", 2**60, 300)},
        {"proc/self/cgroup": "0::/\n", **v2("", "many", "few")},
        {"proc/self/cgroup": "no colons\n\n::\n", **v2("", "", "")},
    ],
    ids=["no cgroups", "max", "none of v1", "more than there is", "no numbers", "nonsense"],
)
def test_without_a_limit_the_machine_bounds_us(kernel, files):
    assert levels(kernel(files)) == [Level(MACHINE, 4096 * MB, 3072 * MB, 0.0)]


def test_a_host_that_tells_nothing_bounds_nothing(tmp_path):
    assert levels(tmp_path) == []


@pytest.mark.parametrize(("text", "is_so"), [("1\n", True), ("0\n", False), ("", False)])
def test_whether_the_kernel_kills_all_is_seen(kernel, text, is_so):
    root = kernel({"proc/self/cgroup": "0::/x\n", **v2("", 1000, 10, **{"oom.group": text})})

    assert kills_all(root) is is_so


PRESSURE = "some avg10=50.00 avg60=1.00 avg300=0.00 total=9\nfull avg10={} avg60=2.00 total=1\n"


def test_the_stall_is_that_of_our_cgroup_else_of_the_machine(kernel):
    own = {"proc/self/cgroup": "0::/x\n", "proc/pressure/memory": PRESSURE.format("3.50")}

    of_machine = levels(kernel({**own, **v2("/x", 1000, 10)}))
    of_cgroup = levels(kernel(v2("/x", 1000, 10, pressure=PRESSURE.format("12.25"))))

    assert [of_machine[0].stall_percent, of_cgroup[0].stall_percent] == [3.5, 12.25]
