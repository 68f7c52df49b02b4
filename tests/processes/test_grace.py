"""A plugin may ask for a moment between its deadline and the kill: SIGTERM comes first."""

import pytest

from tests.support.linux import is_alive
from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone

TIDIES_UP = """
def tidy(*_):
    with open(settings["file"], "w") as file:
        file.write("tidied")
    os._exit(7)

signal.signal(signal.SIGTERM, tidy)
time.sleep(60)
"""
RETURNS_LATE = """
class Enough(Exception):
    pass

def enough(*_):
    raise Enough

signal.signal(signal.SIGTERM, enough)
try:
    time.sleep(60)
except Enough:
    return "# Half of it"
"""
REFUSES = """
trap = "trap 'echo told > $0; exit' TERM; while :; do sleep 0.1; done"
child = subprocess.Popen(["sh", "-c", trap, settings["file"]])
# Afterwards: what we ignore our children ignore.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""
OVERRAN = "Workflow exceeded 0.7s timeout"


@pytest.fixture
def run_of(start_supervisor, world, tmp_path):
    """Start a supervisor and a run of a crew that does this; return both."""

    def start(code, grace="grace_s: 30", **settings):
        plugins = write_crew(tmp_path, "drill", code, manifest=f"timeout_s: 0.7\n{grace}")
        supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
        return supervisor, world.publish(plugin="drill", settings=settings)

    return start


def test_a_crew_can_tidy_up_and_has_overrun_all_the_same(run_of, world, tmp_path):
    file = tmp_path / "tidied"

    supervisor, run = run_of(TIDIES_UP, file=str(file))

    # Long before the grace is over: nothing is left that it could be for.
    result = wait_until(lambda: world.result(run))
    assert (result["error"], result["meta"]["cause"]) == (OVERRAN, "timeout")
    assert file.read_text() == "tidied"
    assert supervisor.log_lines("worker_died", because="timeout")[0]["how"] == "exit 7"
    # What it was doing before SIGTERM disturbed it.
    assert result["meta"]["post_mortem"]["stall"] == "sleeping"


def test_what_comes_within_the_grace_comes_too_late(run_of, world):
    supervisor, run = run_of(RETURNS_LATE)

    result = wait_until(lambda: world.result(run))
    assert (result["status"], result["error"], result["output"]) == ("failed", OVERRAN, "")
    # And the rest of the grace is not waited for.
    assert supervisor.log_lines("worker_killed", because="timeout", run=run)


def test_the_grace_ends_with_the_kill_of_the_whole_tree(run_of, world, tmp_path):
    file = tmp_path / "told"

    supervisor, run = run_of(REFUSES, grace="grace_s: 0.8", file=str(file))
    pid = wait_until(lambda: supervisor.busy("drill"))

    result = wait_until(lambda: world.result(run))
    assert result["error"] == OVERRAN
    assert not is_alive(pid)
    # SIGTERM went to its child, too.
    assert file.read_text() == "told\n"
    assert 1.5 <= result["meta"]["duration_s"] < 2.5


def test_without_a_grace_nobody_is_told(run_of, world, tmp_path):
    file = tmp_path / "tidied"

    _, run = run_of(TIDIES_UP, grace="", file=str(file))

    assert wait_until(lambda: world.result(run))["error"] == OVERRAN
    assert not file.exists()
