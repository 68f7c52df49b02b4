"""A run is started again for the ends that another start may mend, and after its backoff."""

import time

import pytest

from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import stays_true, wait_until


def test_each_end_is_retried_as_its_plugin_says(supervisor, world, tmp_path):
    fails = ["exception", "crash", "exit", "rate_limited", "oom"]
    settings = {"memory": str(tmp_path / "memory"), "fails": fails}
    run_id = world.publish(plugin="flaky", settings=settings)

    wait_until(lambda: world.result(run_id), 30, "it got through")

    result = world.result(run_id)
    assert result["status"] == "completed"
    assert result["meta"]["attempt"] == len(fails) + 1
    record = world.record(run_id)
    assert record["state"] == "completed"
    causes = [f'"cause": "{c}"' for c in ("exception", "crash", "crash", "rate_limited", "oom")]
    told = [record[f"attempt_{n}"] for n in range(1, len(fails) + 1)]
    assert all(cause in text for cause, text in zip(causes, told, strict=True))
    assert world.dead_letters() == []


@pytest.mark.parametrize(
    ("plugin", "settings", "cause"),
    [
        ("raises", {}, "exception"),
        ("spins", {}, "timeout"),
        ("echoes", {"unknown": 1, "settings": []}, "invalid"),
        ("asks", {}, "needs_human"),
    ],
)
def test_these_ends_are_final(start_supervisor, world, plugin, settings, cause):
    supervisor = start_supervisor(CREW_TIMEOUT_SECONDS=1)
    run_id = world.publish(plugin=plugin, settings=settings)

    wait_until(lambda: world.result(run_id), what="it has a result")

    assert world.result(run_id)["status"] == "failed"
    assert len(supervisor.log_lines("run_started", run=run_id)) == 1
    (letter,) = world.dead_letters()
    assert (letter["class"], letter["attempts"]) == (cause, "1")


def test_a_dead_letter_tells_the_stack_and_the_worker(supervisor, world):
    run_id = world.publish(plugin="raises", settings={"text": "told", "_llm_api_key": "sk-123456"})

    wait_until(lambda: world.result(run_id), what="it has a result")

    (letter,) = world.dead_letters()
    assert "DrillError: told" in letter["last_error"]
    assert "in kickoff" in letter["stack"]
    assert letter["worker"].startswith(supervisor.host)
    assert "sk-123456" not in str(letter)


def test_retry_after_is_waited_for(supervisor, world, tmp_path):
    settings = {"memory": str(tmp_path / "m"), "fails": ["rate_limited"], "retry_after": "2"}
    began = time.monotonic()
    run_id = world.publish(plugin="flaky", settings=settings)
    wait_until(lambda: world.client.zscore("crewpool:delayed", run_id), what="it is delayed")
    assert world.record(run_id)["state"] == "delayed"

    wait_until(lambda: world.result(run_id), what="it went on")

    assert time.monotonic() - began > 1.9
    assert world.result(run_id)["status"] == "completed"


def test_a_backoff_survives_the_supervisor_and_any_other_promotes_it(
    start_supervisor, world, tmp_path
):
    first = start_supervisor()
    settings = {"memory": str(tmp_path / "m"), "fails": ["rate_limited"], "retry_after": "3"}
    run_id = world.publish(plugin="flaky", settings=settings)
    wait_until(lambda: world.client.zscore("crewpool:delayed", run_id), what="it is delayed")
    first.kill()

    start_supervisor(**QUICK_LEASES)

    wait_until(lambda: world.result(run_id), 15, "the other one ran it")
    assert world.result(run_id)["meta"]["attempt"] == 2


def test_a_drain_burns_no_attempt(start_supervisor, world):
    first = start_supervisor(CREWPOOL_DRAIN_S=0)
    run_id = world.publish(plugin="sleeps", settings={"seconds": 1.5})
    wait_until(lambda: first.log_lines("run_started", run=run_id), what="it runs")
    first.stop()

    start_supervisor()

    wait_until(lambda: world.result(run_id), what="it was finished")
    assert world.result(run_id)["meta"]["attempt"] == 1


def test_idle_supervisors_hear_of_a_delayed_run_at_its_time(supervisor, world, tmp_path):
    """Nobody polls: the blocked wait of an idle pool ends when the first delay does."""
    settings = {"memory": str(tmp_path / "m"), "fails": ["rate_limited"], "retry_after": "1"}
    run_id = world.publish(plugin="flaky", settings=settings)
    wait_until(lambda: world.client.zscore("crewpool:delayed", run_id), what="it is delayed")
    due_s = world.client.zscore("crewpool:delayed", run_id) / 1000

    wait_until(lambda: len(supervisor.log_lines("run_started", run=run_id)) == 2, what="again")

    assert time.time() - due_s < 1.5
    stays_true(lambda: len(world.results(run_id)) <= 1, 0.3)
