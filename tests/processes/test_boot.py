"""From the start to the first idle worker, and what happens when that cannot be."""

import os
import re
import signal
import socket

import pytest

from tests.support.linux import is_alive
from tests.support.plugins import write_crew, write_plugin
from tests.support.supervisors import ROOT
from tests.support.waiting import stays_true, wait_until

BROKEN = ROOT / "tests" / "plugins-broken"


@pytest.mark.slow
def test_a_preload_that_cannot_be_imported_ends_with_3_and_its_name(start_supervisor):
    supervisor = start_supervisor(wait=False, CREWPOOL_PRELOAD="module_that_does_not_exist")

    assert supervisor.wait_exit(40) == 3

    (told,) = supervisor.log_lines("gave_up")
    assert "module_that_does_not_exist" in told["reason"]
    assert "crewpool doctor" in told["reason"]
    assert len(supervisor.log_lines("zygote_died")) == 5


def test_while_nothing_boots_it_is_alive_but_not_ready_and_takes_nothing(start_supervisor, world):
    run = world.publish()
    supervisor = start_supervisor(wait=False, CREWPOOL_PRELOAD="module_that_does_not_exist")
    wait_until(lambda: supervisor.log_lines("zygote_died"))

    status, body = supervisor.readiness()

    assert (status, body["status"]) == (503, "not_ready")
    assert "module_that_does_not_exist" in body["error"]
    assert supervisor.liveness() == (200, {"status": "alive"})
    assert world.pending() == []
    assert world.results(run) == []


def test_it_can_be_stopped_while_nothing_boots(start_supervisor):
    supervisor = start_supervisor(wait=False, CREWPOOL_PRELOAD="module_that_does_not_exist")
    wait_until(lambda: supervisor.log_lines("zygote_died"))

    assert supervisor.stop(3) == 0


def test_it_can_be_stopped_while_the_zygote_imports(start_supervisor, tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(30)")
    supervisor = start_supervisor(
        wait=False, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="slow_to_import"
    )
    wait_until(lambda: "crewpool zygote importing" in supervisor.titles())

    assert supervisor.stop(3) == 0


def test_an_import_that_hangs_is_given_up(start_supervisor, tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time; time.sleep(60)")
    supervisor = start_supervisor(
        wait=False,
        PYTHONPATH=tmp_path,
        CREWPOOL_PRELOAD="slow_to_import",
        CREWPOOL_BOOT_TIMEOUT_S=1,
    )

    (died, *_) = wait_until(lambda: supervisor.log_lines("zygote_died"))

    assert "not ready after 1s" in died["reason"]


def test_a_boot_that_failed_is_tried_again(start_supervisor, world, tmp_path):
    (tmp_path / "comes_later.py").write_text("raise RuntimeError('not yet')")
    supervisor = start_supervisor(wait=False, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="comes_later")
    wait_until(lambda: supervisor.log_lines("zygote_died"))
    (tmp_path / "comes_later.py").write_text("")

    supervisor.wait_ready()

    run = world.publish()
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_one_broken_plugin_does_not_hide_the_others(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path / "plugins", "healthy", 'return "well"')
    for folder in BROKEN.iterdir():
        (plugins / folder.name).symlink_to(folder)
    supervisor = start_supervisor(plugin_dir=plugins)
    runs = {
        name: world.publish(plugin=name)
        for name in ("healthy", *(folder.name for folder in BROKEN.iterdir()))
    }

    wait_until(lambda: world.have_results(runs.values()))

    status = {name: world.result(run)["status"] for name, run in runs.items()}
    assert status.pop("healthy") == "completed"
    assert status.pop("threads-at-import") == "completed"
    assert set(status.values()) == {"failed"}
    assert "a_package_that_nobody_has" in world.result(runs["broken-import"])["error"]
    told = {line["plugin"] for line in supervisor.log_lines("plugin_broken")}
    assert told == {"broken-manifest", "broken-schema"}
    world.assert_exactly_one_result(runs.values())


def test_a_plugin_that_starts_a_thread_is_left_to_the_workers(start_supervisor, world):
    supervisor = start_supervisor(plugin_dir=BROKEN)
    run = world.publish(plugin="threads-at-import")

    result = wait_until(lambda: world.result(run))

    assert result["status"] == "completed"
    (told,) = supervisor.log_lines("plugin_not_preloaded", plugin="threads-at-import")
    assert "drill-at-import" in told["reason"]
    assert "cannot be forked safely" in told["reason"]
    assert supervisor.zygote().num_threads() == 1


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "import os; os.chdir('/'); raise ValueError('x' * 100_000)",
        "def create_crew(:",
        "print('no create_crew here')",
        "class Mute(Exception):\n    __str__ = None\nraise Mute",
        "raise ValueError('\\udc80')",
    ],
    ids=["exit", "interrupt", "long", "syntax", "nothing", "mute", "surrogate"],
)
def test_code_that_fails_at_import_fails_alone(start_supervisor, world, tmp_path, code):
    write_plugin(tmp_path, "bad", code)
    write_crew(tmp_path, "good", 'return "well"')
    supervisor = start_supervisor(plugin_dir=tmp_path, CREWPOOL_WORKERS=1)
    bad, good = world.publish(plugin="bad"), world.publish(plugin="good")

    wait_until(lambda: world.have_results([bad, good]))

    assert world.result(bad)["status"] == "failed"
    assert world.result(good)["status"] == "completed"
    world.assert_exactly_one_result([bad, good])
    assert supervisor.log_lines("zygote_died") == []


def test_handlers_that_a_plugin_installs_at_import_do_not_save_its_worker(
    start_supervisor, world, tmp_path
):
    write_plugin(
        tmp_path,
        "grabs",
        """
        import signal, sys, time
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: sys.exit(0))
        class Crew:
            def kickoff(self, inputs):
                return str([signal.getsignal(n) for n in (15, 2, 1, 17)])
        def create_crew(settings):
            return Crew()
        """,
    )
    start_supervisor(plugin_dir=tmp_path)
    run = world.publish(plugin="grabs")

    wait_until(lambda: world.result(run))

    assert world.output(run)["raw"].count("SIG_DFL") == 4


def test_a_library_that_ignores_the_end_of_children_ends_no_zygote(
    start_supervisor, world, tmp_path
):
    """In C, where Python does not hear of it."""
    plugins = write_plugin(tmp_path, "rude", "import ctypes; ctypes.CDLL(None).signal(17, 1)")
    supervisor = start_supervisor(plugin_dir=plugins, wait=False)

    wait_until(lambda: supervisor.log_lines("zygote_ready"))
    supervisor.wait_idle()

    assert supervisor.log_lines("zygote_died") == []


def test_a_taken_port_is_an_error_with_its_number(start_supervisor):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        supervisor = start_supervisor(wait=False, CREWPOOL_HTTP_PORT=port)

        assert supervisor.wait_exit(10) != 0

    assert str(port) in supervisor.log()
    assert list((supervisor.folder / "storage").iterdir()) == []


def test_it_starts_without_redis_and_takes_runs_when_it_comes(start_supervisor, own_server):
    own_server.stop()
    supervisor = start_supervisor(own_server.url, wait=False).wait_idle()
    status, body = supervisor.readiness()
    assert status == 503
    assert f"127.0.0.1:{own_server.port}" in body["error"]

    own_server.start()

    supervisor.wait_ready()


def test_the_titles_say_who_is_who(supervisor, world):
    supervisor.wait_idle()
    assert supervisor.titles() == ["crewpool s0 idle", "crewpool s1 idle", "crewpool zygote"]

    run = world.publish(plugin="sleeps")
    wait_until(lambda: supervisor.busy("sleeps"))

    busy = next(title for title in supervisor.titles() if "sleeps" in title)
    assert re.fullmatch(rf"crewpool s\d sleeps {run[:8]} since \d\d:\d\d:\d\d( \S+)*", busy)


def test_titles_carry_nothing_that_a_terminal_would_obey(supervisor, world):
    world.publish('\x7f"; rm -rf', plugin="sleeps")
    world.publish("$(x)\u202e run", plugin="sleeps")
    wait_until(lambda: len(supervisor.log_lines("run_started")) >= 1)
    wait_until(lambda: supervisor.busy("sleeps"))

    for title in supervisor.titles():
        assert re.fullmatch(r"[A-Za-z0-9 ._:/-]+", title)


def test_each_slot_is_a_consumer_of_its_own(supervisor, world):
    runs = [world.publish(plugin="sleeps") for _ in range(4)]
    wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)

    consumers = world.consumers()

    assert consumers == {f"{supervisor.host}.s0": 1, f"{supervisor.host}.s1": 1}
    stays_true(lambda: max(world.consumers().values()) == 1, 0.5)
    assert len(runs) == 4


def test_the_worker_is_the_supervisors_child_and_leads_its_session(supervisor):
    supervisor.wait_idle()
    for process in supervisor.workers().values():
        assert process.ppid() == supervisor.pid
        assert os.getsid(process.pid) == process.pid
        assert process.num_threads() == 1


def test_a_zygote_that_has_a_thread_is_not_forked(start_supervisor, tmp_path):
    """A module that the preload names starts a thread: the reason names it."""
    (tmp_path / "threaded.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='stowaway', daemon=True).start()\n"
    )
    supervisor = start_supervisor(wait=False, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="threaded")

    (died, *_) = wait_until(lambda: supervisor.log_lines("zygote_died"))

    assert "stowaway" in died["reason"]
    assert "fork gate closed" in died["reason"]
    assert is_alive(supervisor.pid)
    supervisor.signal(signal.SIGINT)
    assert supervisor.wait_exit(3) == 0
