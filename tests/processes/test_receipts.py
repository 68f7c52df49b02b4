"""What a run used is told in its result, its record and its dead letter, however it ended."""

import json

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

MIB = 1 << 20


def receipt(world, run):
    return wait_until(lambda: world.result(run))["meta"]["receipt"]


def cpu_s(told):
    return told["cpu_user_s"] + told["cpu_system_s"]


def test_a_spinning_run_has_used_its_length_of_processor_time(supervisor, world):
    supervisor.wait_idle()

    run = world.publish(plugin="spins", settings={"seconds": 1})

    told = receipt(world, run)
    assert 1 <= told["wall_s"] < 3
    assert 0.2 < cpu_s(told) <= told["wall_s"] + 0.02
    assert told["max_rss_bytes"] > 10 * MIB
    assert (told["attempts"], told["tokens"], told["major_faults"] >= 0) == (1, {}, True)
    assert 0 <= told["queue_wait_s"] < 5
    used = supervisor.metric("crewpool_cpu_seconds_total", plugin="spins", mode="user")
    assert used == pytest.approx(told["cpu_user_s"], abs=0.001)
    assert supervisor.metric("crewpool_run_max_rss_bytes_count", plugin="spins") == 1
    record = world.client.hgetall(f"crewpool:run:{run}")
    assert float(record["cpu_user_s"]) == told["cpu_user_s"]
    assert int(record["max_rss_bytes"]) == told["max_rss_bytes"]
    assert json.loads(record["attempt_1"])["receipt"] == told


def test_a_run_that_was_killed_has_a_receipt_in_its_result_and_its_dead_letter(
    start_supervisor, world
):
    start_supervisor(CREW_TIMEOUT_SECONDS=1).wait_idle()

    run = world.publish(plugin="spins")

    told = receipt(world, run)
    assert world.result(run)["error"] == "Workflow exceeded 1s timeout"
    assert 1 <= told["wall_s"] < 3
    assert 0.2 < cpu_s(told) <= told["wall_s"] + 0.1
    assert told["max_rss_bytes"] > 10 * MIB
    (letter,) = world.dead_letters()
    assert json.loads(letter["receipt"]) == told


def test_a_run_whose_worker_died_has_the_receipt_of_its_last_attempt(start_supervisor, world):
    start_supervisor(CREWPOOL_MAX_ATTEMPTS=2, CREWPOOL_RETRY='{"crash": {"backoff_s": 0}}')

    run = world.publish(plugin="exits")

    told = receipt(world, run)
    assert told["attempts"] == 2
    assert told["max_rss_bytes"] > 10 * MIB
    record = world.client.hgetall(f"crewpool:run:{run}")
    assert json.loads(record["attempt_1"])["receipt"]["attempts"] == 1


def test_a_receipt_counts_what_a_crew_had_others_do_and_nothing_of_the_run_before(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(
        tmp_path,
        "works",
        """
        code = "import time\\nwhile time.process_time() < 0.5: pass"
        if settings["how"] == "child":
            subprocess.run([sys.executable, "-S", "-c", code], check=True)
        elif settings["how"] == "memory":
            block = bytearray(200 << 20)
            block[::4096] = bytes(len(block[::4096]))
        return str(os.getpid())
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)
    before = supervisor.worker_pids()

    by_child, by_memory, nothing = (
        receipt(world, world.publish(plugin="works", settings={"how": how}))
        for how in ("child", "memory", "nothing")
    )

    assert 0.4 < cpu_s(by_child) < 3
    assert by_memory["max_rss_bytes"] - by_child["max_rss_bytes"] > 150 * MIB
    assert cpu_s(nothing) < 0.2
    assert by_memory["max_rss_bytes"] - nothing["max_rss_bytes"] > 150 * MIB
    assert supervisor.worker_pids() == before
