"""A check of settings that never ends, and a plugin that cannot be used, are their own trouble.

A schema's pattern may take longer than the universe for a text of thirty letters. It is
matched in the worker, under the run's timeout, and nowhere else.
"""

import pytest

from tests.support.plugins import write_crew, write_plugin
from tests.support.waiting import wait_until

TIMEOUT_S = 4
CATASTROPHIC = {
    "type": "object",
    "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}},
    "additionalProperties": False,
}
HOSTILE = {"text": "a" * 40 + "!"}


@pytest.fixture
def plugins(tmp_path):
    folder = tmp_path / "plugins"
    says = "return '# Well'"
    write_crew(folder, "well", says)
    write_crew(folder, "matches", says, schema=CATASTROPHIC, manifest=f"timeout_s: {TIMEOUT_S}")
    return folder


@pytest.fixture
def supervisor(start_supervisor, plugins):
    return start_supervisor(plugin_dir=plugins).wait_idle()


def test_a_pattern_without_an_end_is_over_at_the_timeout_of_its_run(supervisor, world):
    run = world.publish(plugin="matches", settings=HOSTILE)
    wait_until(lambda: world.have_results([run]), TIMEOUT_S + 5)

    assert world.result(run)["error"] == f"Workflow exceeded {TIMEOUT_S}s timeout"
    (killed,) = supervisor.log_lines("worker_died")
    assert killed.facts["how"] == "SIGKILL"
    supervisor.wait_idle()
    assert world.pending() == []


def test_nothing_else_suffers_meanwhile(supervisor, world):
    """One of two slots is lost to it; the other serves all the others at once."""
    hostile = world.publish(plugin="matches", settings=HOSTILE)
    wait_until(lambda: supervisor.busy("matches"), what="a worker matches")

    others = [world.publish(plugin="well") for _ in range(20)]
    harmless = world.publish(plugin="matches", settings={"text": "aaa"})
    wait_until(lambda: world.have_results([*others, harmless]), TIMEOUT_S)

    assert world.result(hostile) is None, "it is still at it"
    assert supervisor.liveness() == (200, {"status": "alive"})
    assert supervisor.readiness()[0] == 200
    wait_until(lambda: world.have_results([hostile]), TIMEOUT_S + 5)
    world.assert_exactly_one_result([hostile, harmless, *others])


def test_a_plugin_with_a_misspelt_key_fails_its_own_runs_and_no_others(
    start_supervisor, world, plugins
):
    write_plugin(plugins, "misspelt", "x = 1", manifest="retry: {excepton: 2}")
    supervisor = start_supervisor(plugin_dir=plugins)

    refused, served = world.publish(plugin="misspelt"), world.publish(plugin="well")
    wait_until(lambda: world.have_results([refused, served]))

    assert world.result(served)["status"] == "completed"
    assert "unknown key retry.excepton, did you mean exception?" in world.result(refused)["error"]
    told = supervisor.log_lines("plugin_broken", plugin="misspelt")
    assert "retry.excepton" in told[0]["reason"]
    assert supervisor.log_lines("plugin_broken") == told


def test_a_plugin_that_was_mended_serves_its_next_run(start_supervisor, world, plugins):
    write_crew(plugins, "mended", "return '# Well'", manifest="limits: {rate: 10/x}")
    start_supervisor(plugin_dir=plugins)
    before = world.publish(plugin="mended")
    wait_until(lambda: world.have_results([before]))

    (plugins / "mended" / "plugin.yaml").write_text("name: mended\nlimits: {rate: 10/s}\n")
    after = world.publish(plugin="mended")
    wait_until(lambda: world.have_results([after]))

    assert "limits.rate: must look like 10/m" in world.result(before)["error"]
    assert world.result(after)["status"] == "completed"
