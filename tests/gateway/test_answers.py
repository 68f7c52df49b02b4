"""Answers that their clients do not take, or take very slowly, cost little and not for long."""

import asyncio
import json
from contextlib import suppress

import pytest

from supervisor.gateway import answers, hub
from tests.gateway.test_follow import put_record, put_result
from tests.support.gateways import get, read_until
from tests.support.waiting import eventually

BIG = json.dumps({"text": "a" * 3_000_000})
ASK = b"GET /v1/runs/%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
MOST = 4_000_000


@pytest.fixture
def unread(connect):
    """Ask for a run, and read nothing of the answer."""

    def unread(port, run_id=b"r-1"):
        client = connect(port, None, receive_bytes=4096)
        client.sendall(ASK % run_id)
        return client

    return unread


def room_of(gateway):
    return gateway.api.answers.room


def test_a_large_answer_arrives_whole(gateway, world):
    put_result(world, output=BIG)

    answer = gateway.get("/v1/runs/r-1")
    assert answer.json()["output"] == json.loads(BIG)
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert gateway.get("/health/live").status_code == 200


async def test_who_does_not_take_a_large_answer_is_cut_off(here, world, monkeypatch, unread):
    monkeypatch.setattr(answers, "PATIENCE_S", 0.3)
    gateway, port, logged = here
    put_result(world, output=BIG)
    unread(port)

    await eventually(lambda: "gateway_reader_dropped" in logged, what="it is cut off")
    await eventually(lambda: gateway.connections == 0, what="it is forgotten")
    assert room_of(gateway).held_bytes == 0


async def test_who_takes_a_large_answer_drop_by_drop_is_cut_off(here, world, monkeypatch, unread):
    monkeypatch.setattr(answers, "WHOLE_S", 0.5)
    _, port, logged = here
    put_result(world, output=BIG)
    client = unread(port)
    client.settimeout(5)
    with suppress(ConnectionError):
        while "gateway_reader_dropped" not in logged:
            assert await asyncio.to_thread(client.recv, 2048)
            await asyncio.sleep(0.01)

    assert "gateway_reader_dropped" in logged


async def test_who_does_not_take_small_answers_is_cut_off(here, monkeypatch, connect):
    monkeypatch.setattr(answers, "PATIENCE_S", 0.3)
    _, port, logged = here
    client = connect(port, None, receive_bytes=4096)
    client.settimeout(5)
    with pytest.raises(OSError):  # reset, broken pipe or a timeout, as it comes
        while True:
            await asyncio.to_thread(
                client.sendall, b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
            )

    assert "gateway_reader_dropped" in logged


async def test_while_large_answers_wait_for_their_clients_others_come_later(here, world, unread):
    gateway, port, _ = here
    room_of(gateway)._most_bytes = MOST
    put_result(world, output=BIG)
    put_result(world, "small")
    first = unread(port)
    await eventually(lambda: room_of(gateway).held_bytes, what="it waits for its client")
    refused = await get(port, "/v1/runs/r-1")

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:crewpool:problem:busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Connection"] == "close"
    assert (await get(port, "/v1/runs/small")).status_code == 200
    first.close()
    await eventually(lambda: room_of(gateway).held_bytes == 0, what="there is room again")
    assert (await get(port, "/v1/runs/r-1")).json()["output"] == json.loads(BIG)


async def test_one_larger_than_all_room_is_told_when_it_is_alone(here, world):
    gateway, port, _ = here
    room_of(gateway)._most_bytes = 1000
    put_result(world, output=BIG)

    assert (await get(port, "/v1/runs/r-1")).status_code == 200


async def test_a_follower_waits_for_room_and_holds_up_no_other(
    here, world, monkeypatch, unread, connect
):
    monkeypatch.setattr(hub, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(hub, "MOST_SETTLED", 1)
    gateway, port, _ = here
    room_of(gateway)._most_bytes = MOST
    put_result(world, output=BIG)
    for run_id in ("r-2", "r-3"):
        put_record(world, run_id, state="running")
    large, gone = connect(port, "r-2"), connect(port, "r-3")
    for client in (large, gone):
        await asyncio.to_thread(read_until, client, b"event: progress")
    other = unread(port)
    await eventually(lambda: room_of(gateway).held_bytes, what="there is no room")
    put_result(world, "r-2", BIG)
    # Its result is not in the stream: it has to be looked for, after the first one.
    put_record(world, "r-3", state="failed", error="timeout")
    assert b"timeout" in await asyncio.to_thread(read_until, gone, b"event: end")
    assert (await get(port, "/v1/runs/r-2/events")).status_code == 503
    other.close()

    told = await asyncio.to_thread(read_until, large, b"event: end")
    assert told.count(b"event: result") == 1
    large.close()
    await eventually(lambda: room_of(gateway).held_bytes == 0, what="nothing is held")


async def test_bodies_that_are_not_sent_whole_take_no_room_for_ever(
    here, world, monkeypatch, connect
):
    monkeypatch.setattr("supervisor.gateway.bodies.BODY_S", 0.5)
    gateway, port, _ = here
    gateway.api.asking._most_bytes = 500_000
    head = (
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 400000\r\n\r\n{"
    )
    first, second = connect(port, None), connect(port, None)
    first.sendall(head)
    await eventually(lambda: gateway.api.asking.held_bytes, what="the first is waited for")
    second.sendall(head)

    assert b"problem:busy" in await asyncio.to_thread(read_until, second, b"}")
    assert b"problem:too-slow" in await asyncio.to_thread(read_until, first, b"}")
    assert gateway.api.asking.held_bytes == 0


async def test_a_follower_of_a_run_that_nobody_knows_any_more_is_told_so(
    here, world, monkeypatch, connect
):
    monkeypatch.setattr(hub, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(hub, "RECORDS_EVERY", 2)
    _, port, _ = here
    put_record(world, state="running")
    client = connect(port)
    await asyncio.to_thread(read_until, client, b"event: progress")
    world.client.delete("crewpool:run:r-1")

    told = await asyncio.to_thread(read_until, client, b"\r\n0\r\n")
    assert b'event: end\nid: end\ndata: {"plugin_run_id":"r-1","because":"unknown"}' in told
