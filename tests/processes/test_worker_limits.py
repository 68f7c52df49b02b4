"""The limits that a worker sets itself, as its crew meets them."""

import json
import re
import resource

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

WRITES = """
try:
    open("big", "wb").write(bytes(3 * 2**20))
except OSError as error:
    return error.strerror
return "written"
"""
OPENS = """
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError as error:
    return json.dumps([len(files), error.strerror])
finally:
    [file.close() for file in files]
"""


def output_of(world, plugin):
    run = world.publish(plugin=plugin)
    wait_until(lambda: world.result(run))
    return world.output(run)


@pytest.fixture
def plugins(tmp_path):
    folder = tmp_path / "plugins"
    write_crew(folder, "writes", WRITES)
    write_crew(folder, "opens", OPENS)
    write_crew(
        folder, "eats", "return str(len(bytearray(300 * 2**20)))", manifest="retry: {oom: none}\n"
    )
    return folder


def test_the_usual_limits(start_supervisor, world):
    start_supervisor()
    facts = output_of(world, "sees")

    assert facts["no_new_privs"]
    assert facts["umask"] == 0o077
    assert facts["limits"] == {
        "core": [0, 0],
        "nofile": [min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])] * 2,
        "fsize": list(resource.getrlimit(resource.RLIMIT_FSIZE)),
        "data": list(resource.getrlimit(resource.RLIMIT_DATA)),
    }


def test_a_file_that_is_too_large_is_an_error_and_no_death(start_supervisor, world, plugins):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKER_FSIZE_BYTES="2MB")

    assert output_of(world, "writes")["raw"] == "File too large"
    assert not supervisor.log_lines("worker_died")


def test_a_crew_may_have_so_many_files_open(start_supervisor, world, plugins):
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKER_NOFILE=100)

    count, told = json.loads(output_of(world, "opens")["raw"])

    assert told == "Too many open files"
    assert 80 < count < 100


def test_memory_beyond_the_limit_is_refused_to_the_crew(start_supervisor, world, plugins):
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKER_DATA_BYTES="200MB")
    run = world.publish(plugin="eats")

    wait_until(lambda: world.result(run))

    assert "memory" in world.result(run)["error"]
    assert output_of(world, "writes")["raw"] == "written"


def test_a_limit_that_no_worker_could_keep_is_named_and_no_run_is_taken(start_supervisor, world):
    run = world.publish()
    supervisor = start_supervisor(wait=False, CREWPOOL_WORKER_DATA_BYTES="1MB")

    wait_until(lambda: len(supervisor.log_lines("worker_died")) >= 2)

    assert re.search(r"CREWPOOL_WORKER_DATA_BYTES \(\d+\) is too low", supervisor.log())
    assert world.results(run) == []
