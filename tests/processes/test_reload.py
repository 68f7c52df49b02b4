"""New code of plugins: how it comes to the workers, and what keeps the old in its place."""

import shutil
import signal

import pytest

from supervisor.streams.recorded import attempts_of
from tests.support.linux import kill
from tests.support.plugins import write_crew, write_plugin
from tests.support.waiting import wait_until
from worker.code import code_hash

BROKEN = "raise RuntimeError('broken by an update')"


@pytest.fixture
def plugins(tmp_path):
    """One plugin that waits as long as it is told, and says which code it is."""
    return write_crew(tmp_path / "plugins", "says", 'time.sleep(settings["s"]); return "old"')


def newer(plugins):
    write_crew(plugins, "says", 'time.sleep(settings["s"]); return "new"')


def reload(supervisor):
    supervisor.signal(signal.SIGHUP)


def code_of(world, run):
    return world.result(run)["meta"]["code"]


def test_a_run_says_which_code_it_ran_on_and_finishes_on_it(start_supervisor, world, plugins):
    old = code_hash(plugins / "says")
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    busy = world.publish(plugin="says", settings={"s": 2})
    wait_until(lambda: supervisor.busy("says"))
    # In the same second, and of the same length.
    newer(plugins)
    new = code_hash(plugins / "says")

    reload(supervisor)
    wait_until(lambda: supervisor.log_lines("reloaded", changed="says"))
    after = world.publish(plugin="says", settings={"s": 0})
    wait_until(lambda: world.have_results([busy, after]))

    assert old != new
    assert (world.output(busy)["summary"], code_of(world, busy)) == ("old", old)
    assert (world.output(after)["summary"], code_of(world, after)) == ("new", new)
    assert world.record(after)["code"] == new
    assert [attempt.code for attempt in attempts_of(world.record(busy))] == [old]
    assert supervisor.log_lines("run_started", run=after, code=new)


def test_a_killed_run_and_its_dead_letter_say_the_code_as_well(start_supervisor, world, tmp_path):
    write_crew(tmp_path, "exits", "os._exit(3)", manifest="retry: {crash: none}")
    start_supervisor(plugin_dir=tmp_path)
    code = code_hash(tmp_path / "exits")

    run = world.publish(plugin="exits")
    wait_until(lambda: world.have_results([run]))

    assert code_of(world, run) == code
    assert world.dead_letters()[0]["code"] == code


def test_what_is_imported_in_the_worker_says_its_code_before_it_can_be_killed(
    start_supervisor, world, tmp_path
):
    write_plugin(tmp_path, "late", "import os; os._exit(4)", manifest="retry: {crash: none}")
    plugins = write_crew(tmp_path / "plugins", "whole", "return 'x'")
    start_supervisor(plugin_dir=plugins).wait_idle()
    # It is there after the zygote, so that nobody has imported it.
    (tmp_path / "late").rename(plugins / "late")

    run = world.publish(plugin="late")
    wait_until(lambda: world.have_results([run]))

    assert code_of(world, run) == code_hash(plugins / "late")


def test_code_that_cannot_be_imported_leaves_the_old_in_its_place(start_supervisor, world, plugins):
    write_crew(plugins, "other", 'return "old"')
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    workers, zygote = supervisor.worker_pids(), supervisor.zygote().pid
    write_plugin(plugins, "says", BROKEN)
    write_crew(plugins, "other", 'return "new"')

    reload(supervisor)
    (told,) = wait_until(lambda: supervisor.log_lines("reload_failed"))
    runs = [world.publish(plugin="says", settings={"s": 0}), world.publish(plugin="other")]
    wait_until(lambda: world.have_results(runs))

    assert told["plugin"] == "says"
    assert "broken by an update" in told["reason"]
    assert [world.output(run)["summary"] for run in runs] == ["old", "old"]
    assert supervisor.metric("crewpool_reload_failed") == 1
    assert supervisor.worker_pids() == workers
    wait_until(lambda: supervisor.titles().count("crewpool zygote") == 1)
    assert supervisor.zygote().pid == zygote

    newer(plugins)
    reload(supervisor)
    wait_until(lambda: supervisor.log_lines("reloaded", changed="other,says"))

    assert supervisor.metric("crewpool_reload_failed") == 0


@pytest.mark.parametrize("manifest", ["timeout_s: 5m", None], ids=["wrong", "missing"])
def test_files_that_cannot_be_used_leave_the_old_in_their_place(
    start_supervisor, world, plugins, manifest
):
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    file = plugins / "says" / "plugin.yaml"
    file.write_text(f"name: says\n{manifest}\n") if manifest else file.unlink()

    reload(supervisor)
    (told,) = wait_until(lambda: supervisor.log_lines("reload_failed"))
    run = world.publish(plugin="says", settings={"s": 0})

    assert told["plugin"] == "says"
    assert "plugin.yaml" in told["reason"]
    assert wait_until(lambda: world.result(run))["status"] == "completed"


def test_what_never_worked_and_what_was_taken_away_stand_in_nobodys_way(
    start_supervisor, world, plugins
):
    write_plugin(plugins, "bad", BROKEN)
    write_crew(plugins, "gone", 'return "x"')
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    newer(plugins)
    shutil.rmtree(plugins / "gone")
    write_plugin(plugins, "bad-from-the-start", BROKEN)
    write_plugin(plugins, "misspelt", "x = 1", manifest="timout_s: 1")

    reload(supervisor)
    wait_until(lambda: supervisor.log_lines("reloaded", changed="gone,says"))
    run = world.publish(plugin="says", settings={"s": 0})
    wait_until(lambda: world.have_results([run]))

    assert world.output(run)["summary"] == "new"
    assert supervisor.log_lines("reload_failed") == []


def test_a_reload_that_is_asked_for_while_one_is_coming_comes_after_it(
    start_supervisor, world, plugins, tmp_path
):
    """The first may have read the files before they were changed for the last time."""
    (tmp_path / "slow.py").write_text("import time; time.sleep(1)")
    supervisor = start_supervisor(
        plugin_dir=plugins, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="slow"
    ).wait_idle()
    reload(supervisor)
    wait_until(lambda: "crewpool zygote importing" in supervisor.titles())
    for _ in range(3):
        reload(supervisor)

    wait_until(lambda: len(supervisor.log_lines("reloaded")) == 2)
    wait_until(lambda: len(supervisor.titles()) == 3)
    supervisor.wait_idle()

    assert len(supervisor.log_lines("zygote_ready")) == 3


def test_the_files_a_zygote_finds_after_its_death_are_new_code_for_all(
    start_supervisor, world, plugins
):
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    before = set(supervisor.worker_pids().values())
    newer(plugins)

    kill(supervisor.zygote().pid)

    wait_until(lambda: not before & set(supervisor.worker_pids().values()))
    run = world.publish(plugin="says", settings={"s": 0})
    wait_until(lambda: world.have_results([run]))
    assert world.output(run)["summary"] == "new"


@pytest.mark.slow
def test_under_load_no_run_is_lost_or_failed_by_reloads(start_supervisor, world, plugins):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=4).wait_idle(4)
    runs = []
    for count in range(1, 5):
        write_crew(plugins, "says", f'time.sleep(settings["s"]); return "{count}"')
        reload(supervisor)
        runs += [world.publish(plugin="says", settings={"s": 0.02}) for _ in range(40)]
        wait_until(lambda c=count: len(supervisor.log_lines("reloaded")) >= c)

    wait_until(lambda: world.have_results(runs), 30)

    assert {world.result(run)["status"] for run in runs} == {"completed"}
    assert {world.result(run)["meta"]["attempt"] for run in runs} == {1}
    world.assert_exactly_one_result(runs)
    assert len({code_of(world, run) for run in runs}) >= 3


def test_a_watched_folder_brings_new_code_by_itself(start_supervisor, world, plugins):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WATCH_PLUGINS="true").wait_idle()
    newer(plugins)

    wait_until(lambda: supervisor.log_lines("reloaded", changed="says"))
    run = world.publish(plugin="says", settings={"s": 0})
    wait_until(lambda: world.have_results([run]))

    assert world.output(run)["summary"] == "new"
    assert len(supervisor.log_lines("plugins_changed")) == 1


def test_a_plugin_that_lies_on_the_zygotes_socket_harms_no_run(start_supervisor, world, tmp_path):
    """Its code is imported in the zygote, and can reach the socket there."""
    lie = '{"kind": "zygote_ready", "modules": 1, "import_s": 0.1, "code": {"liar": "%s"}}'
    plugins = write_plugin(
        tmp_path / "plugins",
        "liar",
        f"""
        import json, os, struct, sys
        frame = ({lie!r} % ("f" * 12)).encode()
        control = json.loads(sys.argv[1])["control_fd"]
        os.write(control, struct.pack("!I", len(frame)) + frame)
        class Crew:
            def kickoff(self, inputs):
                return "x"
        def create_crew(settings):
            return Crew()
        """,
    )
    write_crew(plugins, "honest", 'return "x"')
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    runs = [world.publish(plugin=name) for name in ("liar", "honest")]

    wait_until(lambda: world.have_results(runs))

    assert code_of(world, runs[1]) == code_hash(plugins / "honest")
    assert len(supervisor.log_lines("zygote_ready")) == 1


def test_a_zygote_that_dies_while_it_imports_new_code_is_a_reload_that_failed(
    start_supervisor, world, plugins, tmp_path
):
    module = tmp_path / "heavy.py"
    module.write_text("")
    supervisor = start_supervisor(
        plugin_dir=plugins, PYTHONPATH=tmp_path, CREWPOOL_PRELOAD="heavy"
    ).wait_idle()
    module.write_text("import os; os._exit(9)")

    reload(supervisor)
    (told,) = wait_until(lambda: supervisor.log_lines("reload_failed"))
    run = world.publish(plugin="says", settings={"s": 0})
    wait_until(lambda: world.have_results([run]))

    assert told["reason"] == "it ended with exit 9"
    assert "plugin" not in told.facts
    assert world.result(run)["status"] == "completed"
    assert supervisor.metric("crewpool_reload_failed") == 1


def test_a_supervisor_without_workers_reloads_for_those_to_come(start_supervisor, world, plugins):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)
    supervisor.signal(signal.SIGTTOU)
    wait_until(lambda: not supervisor.workers())
    newer(plugins)

    reload(supervisor)
    wait_until(lambda: supervisor.log_lines("reloaded", changed="says"))
    supervisor.signal(signal.SIGTTIN)
    run = world.publish(plugin="says", settings={"s": 0})
    wait_until(lambda: world.have_results([run]))

    assert world.output(run)["summary"] == "new"
