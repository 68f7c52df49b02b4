"""What is refused before a handler sees it is told as all else, and quotes nothing."""

import asyncio
import json

import pytest

from supervisor.gateway.origins import is_loopback
from supervisor.runs.errors import RecordsAway
from tests.gateway.test_follow import put_record
from tests.support.gateways import post, read_until
from tests.support.redis_world import REQUESTS
from tests.support.waiting import eventually

ASKED = {"plugin_name": "echoes", "user_id": 7}
SECRET = b"Authorization: Bearer s3cret-of-somebody\r\n"
HOST = b"Host: localhost\r\n"
NO_REQUESTS = {
    "no method": b"F\xc3O / HTTP/1.1\r\n" + HOST + SECRET + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n" + SECRET + b"\r\n",
    "no line ends": b"GET / HTTP/1.1\n" + HOST + SECRET + b"\n\n",
    "a long head": b"GET / HTTP/1.1\r\n" + HOST + SECRET + b"X: " + b"a" * 9000 + b"\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + SECRET + b"Content-Length: 1\r\n" * 2 + b"\r\na",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an expectation": b"GET /v2 HTTP/1.1\r\n" + HOST + SECRET + b"Expect: s3cret\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_REQUESTS)
async def test_what_is_no_request_is_a_problem_too(here, connect, name):
    gateway, port, _ = here
    client = connect(port, None)
    client.sendall(NO_REQUESTS[name])
    told = await asyncio.to_thread(read_until, client, b"}")
    head, _, body = told.partition(b"\r\n\r\n")

    assert b" 400 " in head.splitlines()[0]
    assert b"\r\nServer: crewpool\r\n" in head
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert json.loads(body)["type"] == "urn:crewpool:problem:bad-request"
    assert b"s3cret" not in told
    assert await asyncio.to_thread(client.recv, 10) == b""
    assert (
        b'crewpool_gateway_refused_total{reason="bad-request"} 1.0' in gateway.metrics.exposition()
    )


async def test_who_is_one_follower_too_many_takes_no_place_from_others(here, world, connect):
    gateway, port, _ = here
    put_record(world, state="running")
    gateway.api.most_streams = 0
    client = connect(port)

    assert b"problem:busy" in await asyncio.to_thread(read_until, client, b"}")
    assert await asyncio.to_thread(client.recv, 10) == b""
    await eventually(lambda: gateway.connections == 0, what="its connection is gone")


# ---- pages from elsewhere


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://attacker.example", 403),
        ("null", 403),
        ("http://localhost.attacker.example", 403),
        ("http://10.0.0.1:8080", 403),
        ("http://[::1", 400),
        ("http://localhost:3000", 202),
        ("http://127.0.0.1:8080", 202),
        ("http://[::1]:8080", 202),
    ],
)
def test_without_tokens_pages_of_this_machine_may_ask_and_others_not(
    gateway, world, origin, status
):
    world.make_groups()
    gateway.ask({**ASKED, "plugin_run_id": "r-1"})
    url = f"{gateway.url}/v1/runs/r-1/cancel"
    answer = gateway.client.post(url, headers={"Origin": origin})

    assert answer.status_code == status
    assert (world.result("r-1") is None) is (status != 202)


def test_names_of_this_machine_are_few():
    assert [is_loopback(name) for name in ("localhost", "127.8.8.8", "::1")] == [True] * 3
    assert [is_loopback(name) for name in ("", "0.0.0.0", "redis", "a.localhost")] == [False] * 4


# ---- no lies


def test_a_run_that_has_ended_and_is_forgotten_is_not_called_pending(gateway, world):
    gateway.ask({**ASKED, "plugin_run_id": "r-1"})
    world.client.set("crewpool:done:r-1", "1-1")
    world.client.delete("crewpool:run:r-1")
    again = gateway.ask({**ASKED, "plugin_run_id": "r-1"})

    shown = gateway.get("/v1/runs/r-1")
    followed = gateway.get("/v1/runs/r-1/events")

    assert (again.status_code, again.json()["type"]) == (409, "urn:crewpool:problem:has-ended")
    for answer in (shown, followed):
        assert answer.status_code == 410
        assert answer.json()["type"] == "urn:crewpool:problem:result-gone"
    assert len(world.entries(REQUESTS)) == 1


async def test_who_is_not_told_whether_a_run_was_accepted_learns_its_id(here, monkeypatch):
    gateway, port, _ = here

    async def take(_request):
        raise RecordsAway("sqlite:///runs.db", "database is locked")

    monkeypatch.setattr(gateway.api.intake, "take", take)
    answer = await post(port, ASKED)
    assert answer.status_code == 503
    run_id = answer.json()["plugin_run_id"]
    monkeypatch.undo()

    assert (await post(port, {**ASKED, "plugin_run_id": run_id})).status_code == 202


def test_two_keys_are_refused(gateway, world):
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    assert gateway.client.post("/v1/runs", json=ASKED, headers=keys).status_code == 400
    assert world.client.dbsize() == 0
