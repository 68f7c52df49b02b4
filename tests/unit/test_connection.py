"""Talking to a server that may not be there."""

import asyncio
from contextlib import suppress

import pytest

from supervisor.streams.connection import answering, connect


async def test_a_cancellation_that_the_library_swallowed_is_heeded():
    client = connect("redis://127.0.0.1:1/0")
    began = asyncio.Event()

    async def work():
        async with answering(client):
            # What redis-py does when its answer and the cancellation come together.
            with suppress(asyncio.CancelledError):
                began.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await client.aclose()
