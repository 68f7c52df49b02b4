"""A run that overran leaves word of its last moments: what it waited for, where, its stacks."""

import json
import socket
from dataclasses import dataclass

import pytest

from tests.support.plugins import write_crew
from tests.support.redis_world import RedisWorld
from tests.support.supervisors import DRILLS, SupervisorProcess
from tests.support.telling import Telling
from tests.support.waiting import wait_until
from tests.support.yard import Yard

pytestmark = pytest.mark.alone

SECRET = "sk-0123456789abcdef"
TWO_LOCKS = """
first, second, both = threading.Lock(), threading.Lock(), threading.Barrier(2)

def hold(mine, other):
    with mine:
        both.wait()
        with other:
            pass

threading.Thread(target=hold, args=(second, first), daemon=True).start()
hold(first, second)
"""
A_SECRET_IN_A_STACK = """
exec(compile("import time\\ntime.sleep(60)", settings["_llm_api_key"], "exec"))
"""
FLOODS = """
line = b"flood " * 200 + b"\\n"
while True:
    os.write(1, line)
"""
CREWS = {
    "dozes": "time.sleep(60)",
    "listens": 'socket.create_connection(("127.0.0.1", settings["port"]), timeout=60).recv(1)',
    "deadlocks": TWO_LOCKS,
    "waits": 'subprocess.run(["sleep", "60"])',
    "whispers": A_SECRET_IN_A_STACK,
    "floods": FLOODS,
}
EXPECTED = {
    "spins": "burning_cpu",
    "spins-in-c": "burning_cpu",
    "dozes": "sleeping",
    "listens": "waiting_on_socket",
    "deadlocks": "deadlocked",
    "waits": "waiting_on_child",
}


@dataclass
class Ended:
    """What one supervisor left of one run of each crew, all overrun."""

    supervisor: SupervisorProcess
    runs: dict
    results: dict
    letters: dict
    records: dict
    peer: str


@pytest.fixture(scope="module")
def ended(any_server, tmp_path_factory):
    any_server.empty()
    plugins = tmp_path_factory.mktemp("plugins")
    for name, code in CREWS.items():
        write_crew(plugins, name, code)
    for drill in ("spins", "spins-in-c"):
        (plugins / drill).symlink_to(DRILLS / drill)
    world, names = RedisWorld(any_server.client), (*CREWS, "spins", "spins-in-c")
    with (
        Yard(tmp_path_factory.mktemp("ended")) as yard,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        port = silent.getsockname()[1]
        supervisor = yard.start(
            any_server.url, plugin_dir=plugins, CREW_TIMEOUT_SECONDS=1, CREWPOOL_WORKERS=2
        )
        settings = {name: {"port": port, "_llm_api_key": SECRET} for name in CREWS}
        runs = {n: world.publish(plugin=n, settings=settings.get(n, {})) for n in names}
        wait_until(lambda: world.have_results(runs.values()), 30)
        # Records are written a moment later.
        wait_until(lambda: all("attempt_1" in world.record(run) for run in runs.values()))
    letters = {json.loads(le["payload"])["plugin_run_id"]: le for le in world.dead_letters()}
    return Ended(
        supervisor,
        runs,
        {name: world.result(run) for name, run in runs.items()},
        {name: letters[run] for name, run in runs.items()},
        {name: world.record(run) for name, run in runs.items()},
        f"127.0.0.1:{port}",
    )


@pytest.mark.parametrize(("plugin", "kind"), EXPECTED.items())
def test_the_result_says_what_a_run_waited_for(ended, plugin, kind):
    seen = ended.results[plugin]["meta"]["post_mortem"]

    assert seen["stall"] == kind
    assert seen["threads"] >= (2 if plugin == "deadlocks" else 1)


def test_the_other_end_of_a_silent_connection_is_named(ended):
    assert ended.results["listens"]["meta"]["post_mortem"]["peers"] == [ended.peer]


@pytest.mark.parametrize("plugin", EXPECTED)
def test_record_letter_and_log_tell_the_same(ended, plugin):
    seen = ended.results[plugin]["meta"]["post_mortem"]

    assert json.loads(ended.records[plugin]["attempt_1"])["post_mortem"] == seen
    assert json.loads(ended.letters[plugin]["post_mortem"]) == seen
    (line,) = ended.supervisor.log_lines("run_post_mortem", run=ended.runs[plugin])
    assert line["stall"] == seen["stall"]
    assert line.facts.get("peers", "") == ",".join(seen.get("peers", ()))


@pytest.mark.parametrize("plugin", [*EXPECTED, "floods"])
def test_the_stacks_stand_in_the_dead_letter_and_not_in_the_result(ended, plugin):
    stack = ended.letters[plugin]["stack"]

    # Also out of a call that never looks at Python, and behind a flood.
    assert stack.startswith("Current thread 0x")
    assert "in kickoff" in stack
    assert "stack" not in ended.results[plugin]["meta"]["post_mortem"]


def test_both_sides_of_a_deadlock_are_in_the_stacks(ended):
    assert ended.letters["deadlocks"]["stack"].count("in hold") >= 2


def test_no_credential_is_told_not_even_as_the_name_of_a_file(ended):
    assert 'File "***"' in ended.letters["whispers"]["stack"]
    for told in (ended.results, ended.letters, ended.records):
        assert SECRET not in json.dumps(told)
    assert SECRET not in ended.supervisor.log()


def test_a_cancelled_run_has_one_too(supervisor, world):
    run = world.publish(plugin="sleeps")
    wait_until(lambda: supervisor.busy("sleeps"))

    Telling(world.client)(None, "cancel", run=run, asks=False)

    result = wait_until(lambda: world.result(run))
    assert result["error"] == "cancelled"
    assert result["meta"]["post_mortem"]["stall"] == "sleeping"


@pytest.mark.usefixtures("supervisor")
def test_a_run_that_ends_by_itself_has_none(world):
    run = world.publish()

    assert "post_mortem" not in wait_until(lambda: world.result(run))["meta"]
