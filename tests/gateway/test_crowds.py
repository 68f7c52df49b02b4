"""Many who follow, and some who read slowly or not at all: what they cost."""

import asyncio
import json
import threading
from types import SimpleNamespace

import httpx
import psutil
import pytest

from supervisor.configuration import load
from supervisor.gateway import answers, events, server, turns
from supervisor.gateway.problems import Refusal
from supervisor.gateway.server import Gateway, listen
from tests.gateway.test_follow import put_record, put_result
from tests.support.gateways import get, read_until
from tests.support.redis_world import REQUESTS
from tests.support.waiting import eventually, wait_until

CROWD = 1000
# Idle: what a connection of aiohttp needs, and nothing that grows with runs or with time.
MOST_BYTES_EACH = 80_000
MOST_CPU = 0.5
BIG = json.dumps({"text": "a" * 3_000_000})


def bytes_of(gateway):
    return psutil.Process(gateway.process.pid).memory_info().rss


def cpu_s_of(gateway):
    used = psutil.Process(gateway.process.pid).cpu_times()
    return used.user + used.system


@pytest.mark.alone
def test_a_thousand_followers_cost_little_and_all_hear_the_end(start_gateway, world, connect):
    gateway = start_gateway()
    run_ids = [f"r-{number}" for number in range(CROWD)]
    for run_id in run_ids:
        put_record(world, run_id, state="running", task=1, tasks=3, agent="Editor", worker="h.s0")
    warm = connect(gateway.port, run_ids[0])
    read_until(warm, b"event: progress")
    before = bytes_of(gateway)

    clients = [connect(gateway.port, run_id) for run_id in run_ids]
    for client in clients:
        read_until(client, b"event: progress")
    cpu_s = cpu_s_of(gateway)
    seconds = 4

    def looks():
        return world.client.info("commandstats")["cmdstat_hgetall"]["calls"]

    so_far = looks()
    wait_until(lambda: looks() >= so_far + seconds * CROWD, 30, "it looked some times")
    cpu = (cpu_s_of(gateway) - cpu_s) / seconds
    each = (bytes_of(gateway) - before) / CROWD

    assert gateway.get("/v1/runs/r-1").status_code == 200
    assert each < MOST_BYTES_EACH, each
    assert cpu < MOST_CPU, cpu
    for run_id in run_ids:
        put_result(world, run_id)
    for client in clients:
        assert b"event: result" in read_until(client, b"event: end")


def test_who_reads_nothing_holds_no_memory(start_gateway, world, connect):
    gateway = start_gateway()
    put_record(world, state="running")
    for _ in range(30):
        connect(gateway.port, receive_bytes=4096)
    reader = connect(gateway.port)
    read_until(reader, b"event: progress")
    before = bytes_of(gateway)
    put_result(world, output=BIG)
    read_until(reader, b"event: end")

    # Thirty times three megabytes would be 90.
    assert bytes_of(gateway) - before < 50_000_000


def test_a_burst_is_taken_whole(start_gateway, world):
    gateway = start_gateway()
    asked = {"plugin_name": "echoes", "user_id": 7}

    async def burst():
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=30) as client:
            sent = [client.post("/v1/runs", json=asked) for _ in range(300)]
            return await asyncio.gather(*sent)

    assert {answer.status_code for answer in asyncio.run(burst())} == {202}
    assert world.client.xlen(REQUESTS) == 300


# ---- in this process, where patience can be made short


async def test_who_takes_nothing_for_a_while_is_cut_off(here, world, monkeypatch, connect):
    monkeypatch.setattr(answers, "PATIENCE_S", 0.3)
    _, port, logged = here
    put_record(world, state="running")
    client = connect(port, receive_bytes=4096)
    await asyncio.to_thread(read_until, client, b"event: progress")
    put_result(world, output=BIG)

    await eventually(lambda: "gateway_reader_dropped" in logged, what="it is cut off")


async def test_a_slow_reader_misses_steps_and_not_the_result(here, world, connect):
    _, port, _ = here
    put_record(world, state="running", task=0, tasks=9)
    reader = connect(port)
    first = await asyncio.to_thread(read_until, reader, b"event: progress")
    assert b'"task":0' in first
    for task in range(1, 9):
        put_record(world, task=task)
    put_result(world)

    rest = await asyncio.to_thread(read_until, reader, b"event: end")
    assert rest.count(b"event: progress") <= 2
    assert rest.count(b"event: result") == 1


async def test_a_comment_keeps_the_line_open(here, world, monkeypatch, connect):
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    _, port, _ = here
    put_record(world, state="running")
    client = connect(port)

    assert b"event: progress" in await asyncio.to_thread(read_until, client, b"\n:\n\n")


async def test_who_follows_when_too_many_do_is_told_to_come_later(
    here, world, monkeypatch, connect
):
    gateway, port, _ = here
    put_record(world, state="running")
    gateway.api.most_streams = 1
    first = connect(port)
    await asyncio.to_thread(read_until, first, b"event: progress")
    second = connect(port)

    answer = await asyncio.to_thread(read_until, second, b"}")
    assert b"503" in answer.splitlines()[0]
    assert b"Retry-After" in answer
    assert b"problem:busy" in answer


async def test_who_hangs_up_is_forgotten(here, world, connect):
    gateway, port, _ = here
    put_record(world, state="running")
    client = connect(port)
    await asyncio.to_thread(read_until, client, b"event: progress")
    assert gateway.api.telling.clients == 1
    client.close()

    await eventually(lambda: gateway.api.telling.clients == 0, 3, "nobody follows")


async def test_connections_above_the_bound_are_sent_away(here, connect):
    gateway, port, _ = here
    gateway.most_connections = 2
    connect(port, None)
    connect(port, None)
    await eventually(lambda: gateway.connections == 2, what="two are connected")
    third = connect(port, None)

    assert b"503" in await asyncio.to_thread(read_until, third, b"\r\n\r\n")


async def test_who_says_half_a_head_is_cut_off(redis_server, here, monkeypatch, tmp_path, connect):
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    gateway = Gateway(load())
    listening = listen(load())
    await gateway.start(listening)
    port = listening.getsockname()[1]
    silent, slow = (connect(port, None) for _ in range(2))
    slow.sendall(b"GET /health/live HTTP/1.1\r\nHost: loc")
    for client in (silent, slow):
        client.settimeout(5)

        assert await asyncio.to_thread(client.recv, 100) == b""
    await gateway.stop()


async def test_who_sends_half_a_body_is_cut_off(here, world, monkeypatch, connect):
    monkeypatch.setattr("supervisor.gateway.bodies.BODY_S", 0.3)
    _, port, _ = here
    client = connect(port, None)
    client.sendall(
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 100\r\n\r\n{"plugin_name"'
    )

    assert b"408" in await asyncio.to_thread(read_until, client, b"too-slow")
    assert world.client.dbsize() == 0


async def test_probes_that_come_together_hear_the_same(here):
    gateway, _, _ = here

    told = await asyncio.gather(*[gateway.api.readiness.look() for _ in range(10)])
    assert {answer.status for answer in told} == {"ready"}


async def test_who_gets_no_turn_at_redis_is_told_so():
    calls = turns.Turns(1, 0.05)
    async with calls.one():
        with pytest.raises(Refusal, match="too slowly"):
            await calls.one().__aenter__()
    async with calls.one():
        pass


async def test_who_asks_for_records_that_do_not_answer_is_told_so(here, monkeypatch):
    gateway, port, _ = here
    answered = threading.Event()
    store = SimpleNamespace(get=lambda _run_id: answered.wait(20) and None)
    monkeypatch.setattr(gateway.api.runs, "_store", store)
    monkeypatch.setattr(gateway.api.runs, "_of_records", turns.Turns(1, 0.05))
    first = asyncio.create_task(get(port, "/v1/runs/r-1"))
    await eventually(gateway.api.runs._of_records._free.locked, what="the first waits")
    second = await get(port, "/v1/runs/r-2")
    answered.set()

    assert (second.status_code, second.json()["type"]) == (503, "urn:crewpool:problem:away")
    assert (await first).status_code == 404
