"""Plugins whose import ends the zygote, blocks it, or leaves something in it."""

import signal

from tests.support.plugins import write_crew, write_plugin
from tests.support.waiting import wait_until

ENDS = "import os; os._exit(3)"
FAULTS = "import ctypes; ctypes.string_at(0)"
HANGS = "import time; time.sleep(3600)"
# Other code at each look.
WRITES_AND_ENDS = """
import os, pathlib, time
pathlib.Path(__file__).with_name("seen.json").write_text(str(time.time()))
os._exit(3)
"""


def reload(supervisor):
    supervisor.signal(signal.SIGHUP)


def reasons(supervisor):
    told = supervisor.log_lines("plugin_not_preloaded")
    return {line["plugin"]: line["reason"] for line in told}


def test_imports_that_end_or_block_the_zygote_fail_alone(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path / "plugins", "well", 'return "x"')
    write_plugin(plugins, "ends", ENDS)
    write_plugin(plugins, "faults", FAULTS)
    write_plugin(plugins, "hangs", HANGS)
    supervisor = start_supervisor(
        plugin_dir=plugins,
        CREWPOOL_WORKERS=1,
        CREWPOOL_BOOT_TIMEOUT_S=4,
        CREW_TIMEOUT_SECONDS=0.5,
        CREWPOOL_MAX_ATTEMPTS=1,
    ).wait_idle(1)
    runs = {name: world.publish(plugin=name) for name in ("ends", "faults", "hangs", "well")}

    wait_until(lambda: world.have_results(runs.values()))

    error = {name: world.result(run)["error"] for name, run in runs.items()}
    assert error["ends"] == (
        "ImportError: the plugin cannot be imported: its import ended the zygote with exit 3"
    )
    assert "its import ended the zygote with SIGSEGV" in error["faults"]
    assert error["hangs"] == "Workflow exceeded 0.5s timeout", "it is tried, for it may be slow"
    assert error["well"] == ""
    # Only that of the run that had to be killed.
    assert len(supervisor.log_lines("worker_died")) == 1
    assert supervisor.metric("crewpool_plugin_import_failed", plugin="faults") == 1
    assert supervisor.metric("crewpool_plugin_import_failed", plugin="well") is None
    assert reasons(supervisor) == {
        "ends": "its import ended the zygote with exit 3",
        "faults": "its import ended the zygote with SIGSEGV",
        "hangs": "its import was cut off: it was not ready after 4s",
    }
    died = [line["reason"] for line in supervisor.log_lines("zygote_died")]
    assert died[0] == "it ended with exit 3, while it imported the plugin ends"
    assert len(died) == 3


def test_a_reload_tries_the_same_code_again_and_one_that_is_mended_serves(
    start_supervisor, world, tmp_path
):
    plugins = write_plugin(tmp_path / "plugins", "bad", ENDS)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)

    reload(supervisor)
    wait_until(lambda: supervisor.log_lines("reloaded", changed="none"))
    assert len(supervisor.log_lines("zygote_died")) == 2

    write_crew(plugins, "bad", 'return "x"')
    run = world.publish(plugin="bad")
    assert wait_until(lambda: world.result(run))["status"] == "completed", "without a reload, too"

    reload(supervisor)
    wait_until(lambda: supervisor.log_lines("reloaded", changed="bad"))
    assert supervisor.metric("crewpool_plugin_import_failed", plugin="bad") is None
    assert len(supervisor.log_lines("zygote_died")) == 2
    assert supervisor.log_lines("reload_failed") == []


def test_an_import_that_writes_into_its_own_folder_and_ends_the_zygote_fails_alone(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path / "plugins", "well", 'return "x"')
    write_plugin(plugins, "bad", WRITES_AND_ENDS)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)
    runs = [world.publish(plugin=name) for name in ("bad", "well")]

    wait_until(lambda: world.have_results(runs))

    assert "its import ended the zygote with exit 3" in world.result(runs[0])["error"]
    assert world.result(runs[1])["status"] == "completed"
    assert len(supervisor.log_lines("zygote_died")) == 2


def test_new_code_that_ends_the_zygote_leaves_the_old_in_its_place(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path / "plugins", "says", 'return "old"')
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    write_plugin(plugins, "says", ENDS)

    reload(supervisor)
    (told,) = wait_until(lambda: supervisor.log_lines("reload_failed"))
    run = world.publish(plugin="says")
    wait_until(lambda: world.have_results([run]))

    assert told["plugin"] == "says"
    assert told["reason"] == "its import ended the zygote with exit 3"
    assert world.output(run)["summary"] == "old"


def test_what_an_import_forks_or_starts_stays_out_of_the_zygote(start_supervisor, world, tmp_path):
    write_crew(tmp_path, "forks", 'return "x"')
    crew = tmp_path / "forks" / "crew" / "crew.py"
    # Both go on after the fork, and one of them is the zygote.
    crew.write_text(f"{crew.read_text()}\nos.fork()\n")
    write_plugin(
        tmp_path,
        "starts",
        """
        import subprocess
        server = subprocess.Popen(["sleep", "3600"])
        class Crew:
            def kickoff(self, inputs):
                return f"{server.pid} {server.poll()}"
        def create_crew(settings):
            return Crew()
        """,
    )
    supervisor = start_supervisor(plugin_dir=tmp_path, CREWPOOL_WORKERS=1).wait_idle(1)
    runs = [world.publish(plugin=name) for name in ("forks", "starts", "starts")]

    wait_until(lambda: world.have_results(runs))

    assert world.result(runs[0])["status"] == "completed"
    assert supervisor.titles().count("crewpool zygote") == 1
    assert len(supervisor.log_lines("zygote_ready")) == 1
    said = [world.output(run)["raw"] for run in runs[1:]]
    assert said[0] != said[1], "each worker has its own, as it leaves one behind"
    assert all(words.endswith(" None") for words in said)
    assert "left 1 process(es) running" in reasons(supervisor)["starts"]
    assert supervisor.zygote().children() == []
