"""Plugins whose files are not in order: told once with the line, and the others serve on."""

import signal

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until


def test_a_limit_below_the_size_of_a_worker_breaks_its_plugin_alone(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path / "plugins", "small", "return 'x'", manifest="memory_hard: 10MiB")
    write_crew(plugins, "large", "return 'x'", manifest="memory_hard: 10GiB")
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    small, large = world.publish(plugin="small"), world.publish(plugin="large")

    wait_until(lambda: world.have_results([small, large]))

    assert world.result(large)["status"] == "completed"
    error = world.result(small)["error"]
    assert "plugin.yaml: line 2: memory_hard (10.0 MiB) is below the " in error
    assert world.dead_letters()[0]["reason"] == "broken_plugin"
    (told,) = supervisor.log_lines("plugin_broken")
    assert told["reason"] in error


def test_a_setting_below_the_size_of_a_worker_ends_with_2_and_its_name(start_supervisor):
    supervisor = start_supervisor(wait=False, CREWPOOL_MEMORY_HARD="10MiB")

    assert supervisor.wait_exit(20) == 2

    assert "CREWPOOL_MEMORY_HARD: 10.0 MiB is below the " in supervisor.log()
    assert "Traceback" not in supervisor.log()
    assert list((supervisor.folder / "storage").iterdir()) == []


def test_what_is_broken_from_the_start_is_told_once_and_a_reload_says_only_what_is_new(
    start_supervisor, tmp_path
):
    plugins = write_crew(tmp_path / "plugins", "well", "return 'x'")
    write_crew(plugins, "misspelt", "return 'x'", manifest="timout_s: 5")
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()
    write_crew(plugins, "negative", "return 'x'", manifest="timeout_s: -1")

    supervisor.signal(signal.SIGHUP)
    wait_until(lambda: supervisor.log_lines("reloaded"))

    told = [(line["plugin"], line["reason"]) for line in supervisor.log_lines("plugin_broken")]
    assert [plugin for plugin, _ in told] == ["misspelt", "negative"]
    assert "line 2: unknown key timout_s, did you mean timeout_s?" in told[0][1]
    assert told[1][1] == "plugin.yaml: line 2: timeout_s: must be greater than 0"
