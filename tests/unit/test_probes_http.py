"""Probes answer, whoever else has connections open and says nothing."""

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from supervisor.observe import http
from supervisor.observe.http import HttpServer

HEALTH = SimpleNamespace(
    stalled_because=lambda: "", not_ready_because=lambda: "", exposition=lambda: b"up 1\n"
)


@pytest.fixture
async def server():
    server = HttpServer()
    await server.start(HEALTH, "127.0.0.1", 0)
    yield server
    await server.stop()


async def ask(server, path="health/live"):
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        return await client.get(f"http://127.0.0.1:{server.port}/{path}")


async def is_cut(reader):
    async with asyncio.timeout(5):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


async def test_of_too_many_connections_the_oldest_are_cut_and_probes_answered(server, monkeypatch):
    """Files are what reconnects to Redis and new workers need, too."""
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 8)
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
    silent[-1][1].write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")

    assert (await ask(server)).json() == {"status": "alive"}
    assert (await ask(server, "metrics")).text == "up 1\n"
    assert all([await is_cut(reader) for reader, _ in silent[:32]])
    silent[-1][1].write(b"\r\n")
    assert (await silent[-1][0].readline()).endswith(b"200 OK\r\n")
    for _, writer in silent:
        writer.close()


async def test_who_says_nothing_is_cut_after_a_while(monkeypatch):
    monkeypatch.setattr(http, "SILENT_S", 0.1)
    server = HttpServer()
    await server.start(HEALTH, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

    assert await is_cut(reader)
    writer.close()
    await server.stop()
