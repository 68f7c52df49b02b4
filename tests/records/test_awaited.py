"""Whoever waits for a result hears of a run that ends without one."""

import asyncio

import pytest

from supervisor.cli import kept
from supervisor.runs.errors import RecordsAway
from supervisor.runs.store import RunStore
from tests.support.servers import HOST, free_port

ON = ("sqlite",)


def waiting_for(store, run_id, coming):
    return asyncio.run(kept.awaited(coming, store, run_id))


async def never():
    await asyncio.Event().wait()


async def soon(result):
    await asyncio.sleep(0)
    return result


def test_a_run_that_is_given_up_ends_the_wait(store, added):
    run_id = added()
    store.fail(run_id, "refused")

    assert waiting_for(store, run_id, never())["error"] == "refused"


def test_a_result_ends_the_wait_also_without_records_or_with_records_that_are_away(store, added):
    away = RunStore(f"postgresql://u:p@{HOST}:{free_port()}/db")
    with pytest.raises(RecordsAway):
        away.get("r-1")

    for records in (None, store, away):
        assert waiting_for(records, added(), soon({"output": "x"})) == {"output": "x"}


def test_what_goes_wrong_with_the_wait_is_told(store, added):
    async def late():
        async with asyncio.timeout(0):
            await never()

    with pytest.raises(TimeoutError):
        waiting_for(store, added(), late())
