"""Runs that have more memory than they may, in real workers."""

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

ONCE = {"CREWPOOL_WORKERS": 1, "CREWPOOL_RETRY": '{"oom": "none"}'}


@pytest.fixture
def ended(world):
    """Publish a run and return its result."""

    def run(plugin, settings=None):
        run_id = world.publish(plugin=plugin, settings=settings)
        return wait_until(lambda: world.result(run_id), 20, f"{plugin} has a result")

    return run


def test_a_run_above_memory_hard_is_killed_as_oom_and_told_both_sizes(
    start_supervisor, world, ended
):
    supervisor = start_supervisor(CREWPOOL_MEMORY_HARD="150MiB", **ONCE)

    result = ended("eats-memory", {"megabytes": 4000, "seconds": 60})
    after = ended("echoes")

    assert result["status"] == "failed"
    assert result["error"].startswith("memory_hard of 150.0 MiB: the run had ")
    assert result["meta"]["cause"] == "oom"
    had_mb = float(result["error"].split()[-2])
    assert result["error"].endswith(" MiB")
    assert 150 < had_mb < 1000
    assert after["status"] == "completed"
    assert supervisor.metric("crewpool_kills_total", because="memory_hard") == 1
    (letter,) = world.dead_letters()
    assert letter["class"] == "oom"
    assert supervisor.log_lines("run_died", cause="oom")


def test_the_limit_of_the_plugin_goes_over_that_of_the_settings(start_supervisor, ended, tmp_path):
    grows = "x = b'x' * (120 * 2**20); time.sleep(0.5); return str(len(x))"
    plugins = write_crew(tmp_path, "tight", grows, manifest="memory_hard: 60MiB\n")
    write_crew(tmp_path, "wide", grows, manifest="memory_hard: 1GiB\n")
    start_supervisor(plugin_dir=plugins, CREWPOOL_MEMORY_HARD="80MiB", **ONCE)

    assert "memory_hard of" in ended("tight")["error"]
    assert ended("wide")["status"] == "completed"


def test_what_the_programs_of_a_crew_have_counts(start_supervisor, ended, tmp_path):
    child = "import time; x = b'x' * (200 * 2**20); time.sleep(60)"
    code = f"subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True); return '#'"
    plugins = write_crew(tmp_path, "runs", code, manifest="memory_hard: 150MiB\n")
    start_supervisor(plugin_dir=plugins, **ONCE)

    assert "memory_hard of" in ended("runs")["error"]


def test_what_forks_share_with_their_worker_counts_once(start_supervisor, ended, tmp_path):
    code = """
        kept = b'x' * (60 * 2**20)
        children = []
        for _ in range(6):
            if (pid := os.fork()) == 0:
                time.sleep(0.8)
                os._exit(0)
            children.append(pid)
        for pid in children:
            os.waitpid(pid, 0)
        return '# Six'
    """
    plugins = write_crew(tmp_path, "forks-much", code, manifest="memory_hard: 250MiB\n")
    start_supervisor(plugin_dir=plugins, **ONCE)

    result = ended("forks-much")
    assert result["error"] == ""


def test_a_run_that_was_killed_for_memory_is_tried_again_by_its_policy(
    start_supervisor, world, ended, tmp_path
):
    grows = "x = b'x' * (300 * 2**20); time.sleep(60); return str(len(x))"
    manifest = "memory_hard: 100MiB\nretry: {oom: {attempts: 2, backoff_s: 0.05}}\n"
    plugins = write_crew(tmp_path, "grows", grows, manifest=manifest)
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)

    result = ended("grows")

    assert result["meta"]["attempt"] == 2
    assert len(supervisor.log_lines("run_died", cause="oom")) == 2
    (letter,) = world.dead_letters()
    assert (letter["reason"], letter["attempts"]) == ("attempts_exhausted", "2")
