"""A result is found without reading all that stand beside it."""

import json

import pytest

from supervisor.streams.inspect import find_result
from tests.support.redis_world import RESULTS

COUNT = 30
SIZE_BYTES = 200_000
AT_S = 1_700_000_000


@pytest.fixture
def results(world):
    """Results of some size, one a minute; return a function that tells how much was read."""
    for number in range(COUNT):
        result = {"plugin_run_id": f"r-{number}", "output": "a" * SIZE_BYTES}
        entry = f"{(AT_S + 60 * number) * 1000}-0"
        world.client.xadd(RESULTS, {"payload": json.dumps(result)}, id=entry)
    before = world.client.info("stats")["total_net_output_bytes"]
    return lambda: world.client.info("stats")["total_net_output_bytes"] - before


async def test_the_newest_is_found_first(queue, results):
    found = await find_result(queue, f"r-{COUNT - 1}")

    assert found["output"] == "a" * SIZE_BYTES
    assert results() < 2 * SIZE_BYTES


async def test_one_whose_end_is_known_is_found_at_once(queue, results):
    assert (await find_result(queue, "r-0", AT_S - 1.5))["plugin_run_id"] == "r-0"
    assert results() < 2 * SIZE_BYTES


@pytest.mark.parametrize("ended_at", [None, AT_S + 3600, 0.0, -1e300, 1e300])
async def test_one_whose_end_is_told_wrong_is_found_all_the_same(queue, results, ended_at):
    assert (await find_result(queue, "r-0", ended_at))["plugin_run_id"] == "r-0"


async def test_what_only_names_a_run_is_not_its_result(queue, world):
    for payload in ("r-1", '["r-1"]', '{"plugin_run_id": "r-2", "output": "r-1"}'):
        world.client.xadd(RESULTS, {"payload": payload})
    world.client.xadd(RESULTS, {"r-1": "r-1"})

    assert await find_result(queue, "r-1") is None
    assert await find_result(queue, "r-2")


async def test_a_run_whose_id_is_written_in_another_way_is_found(queue, world):
    world.client.xadd(RESULTS, {"payload": json.dumps({"plugin_run_id": "lauf-ö"})})

    assert await find_result(queue, "lauf-ö")
