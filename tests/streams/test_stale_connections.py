"""Connections that an outage cut off while nobody used them cost one command, and not each one."""

import asyncio

import pytest

from supervisor.errors import RedisAway
from supervisor.streams.connection import answering, connect


async def ping(client):
    async with answering(client):
        await client.ping()


async def test_after_an_outage_one_command_fails_at_most(own_server):
    client = connect(own_server.url)
    await asyncio.gather(*[ping(client) for _ in range(5)])
    own_server.stop()
    own_server.start()
    with pytest.raises(RedisAway):
        await ping(client)

    await asyncio.gather(*[ping(client) for _ in range(5)])
    await client.aclose()
