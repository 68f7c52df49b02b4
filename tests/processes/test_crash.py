"""A worker that dies takes its run down at most max_attempts times, and nobody else's."""

import json
import os
import signal

import psutil
import pytest

from tests.support.linux import is_alive, kill, living_below
from tests.support.plugins import write_crew
from tests.support.redis_world import RedisWorld
from tests.support.waiting import stays_true, wait_until
from tests.support.yard import Yard

FIND_THE_SOCKET = """
import stat
mine = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2]
def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
line, = [fd for fd in mine if is_socket(fd)]
"""


def test_a_run_whose_worker_was_killed_runs_again_on_its_own(supervisor, world):
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    kill(wait_until(lambda: supervisor.busy("sleeps")))

    result = wait_until(lambda: world.result(run))

    assert result["status"] == "completed"
    assert result["meta"]["attempt"] == 2
    world.assert_exactly_one_result([run])
    world.assert_nothing_pending()
    assert world.dead_letters() == []


def test_the_death_of_a_worker_is_told_with_its_cause(supervisor, world):
    run = world.publish(plugin="sleeps", settings={"seconds": 1})
    pid = wait_until(lambda: supervisor.busy("sleeps"))
    kill(pid)
    wait_until(lambda: world.result(run))

    (died,) = supervisor.log_lines("run_died")
    (back,) = supervisor.log_lines("run_handed_back")
    assert (died["run"], died["how"], died["attempt"]) == (run, "SIGKILL", "1")
    assert (back["run"], back["because"]) == (run, "crash: SIGKILL")
    assert supervisor.log_lines("worker_died", pid=pid, how="SIGKILL")
    assert supervisor.metric("crewpool_worker_deaths_total", how="SIGKILL") == 1
    assert supervisor.metric("crewpool_handed_back_total", cause="crash") == 1


def test_the_death_of_one_worker_disturbs_no_other_run(supervisor, world):
    other = world.publish(plugin="sleeps", settings={"seconds": 1.5})
    other_pid = wait_until(lambda: supervisor.busy("sleeps"))
    run = world.publish(plugin="exits")

    wait_until(lambda: world.have_results([other, run]))

    assert world.result(other)["meta"]["attempt"] == 1
    # A later attempt may have come to it, when its own slot backed off.
    died = supervisor.log_lines("worker_died", pid=other_pid)
    assert [line["runs"] for line in died] in ([], ["1"])
    world.assert_exactly_one_result([other, run])


@pytest.mark.parametrize("code", [0, 1])
def test_no_exit_code_is_a_success(start_supervisor, world, code):
    """Not even 0: only an outcome is."""
    supervisor = start_supervisor(CREWPOOL_MAX_ATTEMPTS=2)
    run = world.publish(plugin="exits", settings={"code": code})

    result = wait_until(lambda: world.result(run))

    assert result["status"] == "failed"
    assert f"exit {code}" in result["error"]
    starts = supervisor.log_lines("run_started", run=run)
    assert [line["attempt"] for line in starts] == ["1", "2"]


def test_a_run_that_kills_its_workers_becomes_a_dead_letter(supervisor, world):
    secret = "sk-0123456789abcdef"
    run = world.publish(plugin="exits", settings={"code": 3, "_llm_api_key": secret})

    result = wait_until(lambda: world.result(run))

    assert result["error"] == "Worker died (exit 3) on attempt 3 of 3"
    (letter,) = world.dead_letters()
    assert (letter["class"], letter["reason"]) == ("crash", "attempts_exhausted")
    assert letter["attempts"] == "3"
    assert json.loads(letter["payload"])["settings"] == {"code": 3, "_llm_api_key": "***"}
    world.assert_exactly_one_result([run])
    world.assert_nothing_pending()
    assert wait_until(lambda: len(supervisor.workers()) == 2)


def test_the_last_words_of_a_dead_worker_are_heard(supervisor, world):
    """Its outcome lay in the socket when it died: the work was done."""
    run = world.publish(plugin="sleeps", settings={"seconds": 0.5})
    pid = wait_until(lambda: supervisor.busy("sleeps"))
    supervisor.signal(signal.SIGSTOP)
    wait_until(lambda: not supervisor.busy("sleeps"))
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
    kill(pid)
    supervisor.signal(signal.SIGCONT)

    result = wait_until(lambda: world.result(run))

    assert (result["status"], result["meta"]["attempt"]) == ("completed", 1)
    world.assert_exactly_one_result([run])


def test_a_worker_that_dies_after_its_work_was_done_is_no_crash(supervisor, world):
    """leaks-threads ends; then its worker is killed: the result stands."""
    run = world.publish(plugin="leaks-threads")
    wait_until(lambda: world.result(run))
    for pid in supervisor.worker_pids().values():
        kill(pid)

    supervisor.wait_idle()

    world.assert_exactly_one_result([run])
    assert world.result(run)["status"] == "completed"


ODD = {
    "exits": ("sys.exit(0)", "SystemExit: 0"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "mute": (
        "class Mute(Exception):\n    def __str__(self): raise ValueError\nraise Mute",
        "Mute",
    ),
    "no-text": ("raise ValueError('half \\ud83d, \\x00')", "ValueError: half"),
    "megabytes": ("raise ValueError('x' * 10_000_000)", "xxxx"),
    "deep": ("def f(): f()\nf()", "RecursionError"),
    "function": ("return (lambda: (yield))", None),
    "endless": ("a = []; a.append(a); return a", "RecursionError"),
    "no-json": ("return {(1, 2): float('nan'), None: {1}, 'b': b'\\xff'}", None),
    "nothing": ("pass", None),
}


@pytest.fixture(scope="module")
def odd(any_server, tmp_path_factory):
    """The results of all those crews in one worker, and its pids before and after."""
    any_server.empty()
    folder = tmp_path_factory.mktemp("odd")
    for name, (kickoff, _) in ODD.items():
        write_crew(folder / "plugins", name, kickoff)
    world = RedisWorld(any_server.client)
    with Yard(folder) as yard:
        supervisor = yard.start(any_server.url, plugin_dir=folder / "plugins", CREWPOOL_WORKERS=1)
        before = supervisor.wait_idle(1).worker_pids()
        runs = [world.publish(f"r-{name}", name) for name in ODD]
        wait_until(lambda: world.have_results(runs))
        world.assert_exactly_one_result(runs)
        pids = (before, supervisor.worker_pids())
    return {result["plugin_run_id"]: result for result in world.results()} | {"pids": pids}


@pytest.mark.parametrize("name", ODD)
def test_whatever_a_crew_raises_or_returns_has_a_result(odd, name):
    error, result = ODD[name][1], odd[f"r-{name}"]

    if error is None:
        assert result["status"] == "completed"
    else:
        assert error in result["error"]
        assert len(result["error"]) <= 10_000


def test_whatever_a_crew_raises_or_returns_its_worker_lives_on(odd):
    before, after = odd["pids"]

    assert before == after


@pytest.mark.parametrize(
    "kickoff",
    [
        "os.closerange(3, 1 << 16)\ntime.sleep(60)",
        FIND_THE_SOCKET + 'os.write(line, b"\\xff" * 100)\ntime.sleep(60)',
        FIND_THE_SOCKET + 'os.write(line, b"\\0\\0\\0\\2{}")\ntime.sleep(60)',
        FIND_THE_SOCKET + "from worker.protocol import Ready, encode\n"
        "os.write(line, encode(Ready()))\ntime.sleep(60)",
        FIND_THE_SOCKET + "from worker.protocol import Outcome, encode\n"
        "os.write(line, encode(Outcome(run_id='another', ended='completed')))\ntime.sleep(60)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.killpg(0, signal.SIGKILL)",
    ],
    ids=["closes-all", "garbage", "no-word", "ready", "foreign-outcome", "kills-itself", "killpg"],
)
def test_a_crew_that_breaks_its_line_to_us_is_over_soon(start_supervisor, world, tmp_path, kickoff):
    plugins = write_crew(tmp_path, "breaks", kickoff)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_MAX_ATTEMPTS=2)
    run = world.publish(plugin="breaks")

    result = wait_until(lambda: world.result(run))

    assert result["status"] == "failed"
    assert world.dead_letters()[0]["class"] == "crash"
    world.assert_exactly_one_result([run])
    world.assert_nothing_pending()
    wait_until(lambda: len(supervisor.workers()) == 2)


def test_a_crew_that_floods_its_line_delays_nobody(start_supervisor, world, tmp_path):
    """Valid words, faster than they can be checked, for as long as it lives."""
    plugins = write_crew(
        tmp_path,
        "floods",
        FIND_THE_SOCKET
        + """
from worker.protocol import Progress, encode
frames = encode(Progress(run_id=settings["run_id"])) * 1000
end = time.monotonic() + 12
while time.monotonic() < end:
    os.write(line, frames)
""",
        manifest="timeout_s: 2",
    )
    write_crew(plugins, "other", "time.sleep(60)", manifest="timeout_s: 1")
    supervisor = start_supervisor(plugin_dir=plugins)
    flooding = world.publish("r-flood", "floods", {"run_id": "r-flood"})
    wait_until(lambda: supervisor.busy("floods"))
    other = world.publish(plugin="other")

    wait_until(lambda: world.have_results([flooding, other]), 6)

    assert supervisor.liveness()[0] == 200
    assert world.result(other)["error"] == "Workflow exceeded 1s timeout"
    assert "broken_protocol" in world.result(flooding)["error"]


def test_a_large_request_that_nobody_read_is_no_trap_for_the_next_worker(start_supervisor, world):
    """Half an assignment is still to be sent when its worker dies."""
    supervisor = start_supervisor(CREW_TIMEOUT_SECONDS=1, CREWPOOL_WORKERS=1).wait_idle(1)
    (pid,) = supervisor.worker_pids().values()
    os.kill(pid, signal.SIGSTOP)
    large = world.publish(settings={"text": "x" * 900_000})
    wait_until(lambda: supervisor.log_lines("run_started", run=large))
    kill(pid)

    run = world.publish()
    wait_until(lambda: world.have_results([large, run]))

    assert supervisor.is_running
    assert world.result(run)["status"] == "completed"
    world.assert_exactly_one_result([large, run])


def test_a_large_request_to_a_worker_that_hangs_is_killed_on_time(start_supervisor, world):
    supervisor = start_supervisor(CREW_TIMEOUT_SECONDS=1, CREWPOOL_WORKERS=1).wait_idle(1)
    (pid,) = supervisor.worker_pids().values()
    os.kill(pid, signal.SIGSTOP)
    large = world.publish(settings={"text": "x" * 900_000})

    result = wait_until(lambda: world.result(large))
    run = world.publish()
    wait_until(lambda: world.result(run))

    assert result["error"] == "Workflow exceeded 1s timeout"
    assert not is_alive(pid)
    assert supervisor.is_running


def test_a_daemon_that_a_run_left_behind_does_not_outlive_its_worker(supervisor, world, tmp_path):
    file = tmp_path / "daemon.pid"
    run = world.publish(plugin="forks", settings={"pid_file": str(file)})
    wait_until(lambda: world.result(run))
    daemon = int(file.read_text())

    for pid in supervisor.worker_pids().values():
        kill(pid)

    wait_until(lambda: not is_alive(daemon))
    # Two workers, a zygote, and nothing else.
    wait_until(lambda: supervisor.wait_idle() and len(living_below(supervisor.pid)) == 3)


def test_workers_that_are_killed_while_idle_come_back(supervisor, world):
    supervisor.wait_idle()
    for _ in range(3):
        before = supervisor.worker_pids()
        for pid in before.values():
            kill(pid)
        wait_until(
            lambda b=before: (
                len(supervisor.workers()) == 2
                and not (set(supervisor.worker_pids().values()) & set(b.values()))
            )
        )

    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"
    stays_true(lambda: supervisor.is_running, 0.2)
