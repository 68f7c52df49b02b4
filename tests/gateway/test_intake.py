"""What is asked for over HTTP becomes a run, once; what breaks a rule leaves nothing behind."""

import json
import time

import pytest

from tests.support.redis_world import REQUESTS, RESULTS
from tests.support.waiting import wait_until

ASKED = {"plugin_name": "echoes", "user_id": 7, "settings": {"text": "a"}}
PROBLEM = "urn:crewpool:problem:"


def payloads(world):
    return [json.loads(fields["payload"]) for _, fields in world.entries()]


def kind_of(answer):
    """The kind of a problem, after a look at its form."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["title"]
    assert problem["detail"].endswith(".")
    return problem["type"].removeprefix(PROBLEM)


def test_a_request_is_published_as_the_contract_has_it(gateway, world):
    answer = gateway.ask({**ASKED, "plugin_run_id": "r-1"})

    assert answer.status_code == 202
    assert answer.headers["Location"] == "/v1/runs/r-1"
    assert answer.text == '{"plugin_run_id":"r-1","status":"pending","what":"published"}'
    ((_, fields),) = world.entries()
    assert fields["payload"] == (
        '{"plugin_run_id":"r-1","plugin_name":"echoes","user_id":7,"settings":{"text":"a"}}'
    )


def test_the_least_request_gets_an_id_and_no_settings(gateway, world):
    answer = gateway.ask({"plugin_name": "echoes", "user_id": 0})

    (payload,) = payloads(world)
    assert payload["settings"] == {}
    assert answer.json()["plugin_run_id"] == payload["plugin_run_id"]


def test_priority_delay_and_uniqueness_are_heeded(gateway, world):
    assert gateway.ask({**ASKED, "priority": "high"}).json()["what"] == "published"
    assert gateway.ask({**ASKED, "delay_s": 60}).json()["what"] == "delayed"
    assert gateway.ask({**ASKED, "at": time.time() + 60}).json()["what"] == "delayed"
    first = gateway.ask({**ASKED, "unique_for_s": 60}).json()
    second = gateway.ask({**ASKED, "unique_for_s": 60})

    assert len(world.entries(f"{REQUESTS}:high")) == 1
    assert len(world.delayed()) == 2
    assert second.status_code == 200
    assert second.json() == {**first, "what": "unique"}


# ---- the same run


def test_a_key_that_comes_again_is_the_same_run(gateway, world):
    first = gateway.ask(ASKED, Idempotency_Key="order-1")
    second = gateway.ask(ASKED, Idempotency_Key="order-1")
    other = gateway.ask(ASKED, Idempotency_Key="order-2")

    assert (first.status_code, second.status_code, other.status_code) == (202, 200, 202)
    assert second.json() == {**first.json(), "what": "known"}
    assert len(payloads(world)) == 2


def test_a_key_that_comes_with_another_request_is_refused(gateway, world):
    gateway.ask(ASKED, Idempotency_Key="order-1")
    answer = gateway.ask({**ASKED, "settings": {"text": "b"}}, Idempotency_Key="order-1")

    assert (answer.status_code, kind_of(answer)) == (422, "key-reused")
    assert len(payloads(world)) == 1


def test_a_run_id_of_another_request_is_refused(gateway, world):
    gateway.ask({**ASKED, "plugin_run_id": "r-1"})
    again = gateway.ask({**ASKED, "plugin_run_id": "r-1"})
    other = gateway.ask({**ASKED, "plugin_run_id": "r-1", "user_id": 8})

    assert again.json()["what"] == "known"
    assert (other.status_code, kind_of(other)) == (409, "run-id-taken")
    assert len(payloads(world)) == 1


def test_an_id_and_a_key_together_are_refused(gateway, world):
    answer = gateway.ask({**ASKED, "plugin_run_id": "r-1"}, Idempotency_Key="order-1")

    assert (answer.status_code, kind_of(answer)) == (422, "invalid")


# ---- bad input

BAD = [
    (b"", 400, "not-json"),
    (b"{", 400, "not-json"),
    (b'{"plugin_name": "echoes", "user_id": 7, "user_id": 8}', 400, "not-json"),
    (b'{"plugin_name": "echoes", "user_id": NaN}', 400, "not-json"),
    (b'{"plugin_name": "echoes", "user_id": ' + b"7" * 5000 + b"}", 400, "not-json"),
    (b"[" * 100_000, 400, "not-json"),
    (b'\xef\xbb\xbf{"plugin_name": "echoes", "user_id": 7}', 400, "not-json"),
    (b'{"plugin_name": "\xff", "user_id": 7}', 400, "not-json"),
    (b"[]", 422, "invalid"),
    (b"null", 422, "invalid"),
    ({}, 422, "invalid"),
    ({"plugin_name": "echoes"}, 422, "invalid"),
    ({**ASKED, "user_id": -1}, 422, "invalid"),
    ({**ASKED, "user_id": 2**64}, 422, "invalid"),
    ({**ASKED, "user_id": True}, 422, "invalid"),
    ({**ASKED, "user_id": "7"}, 422, "invalid"),
    ({**ASKED, "user_id": 7.5}, 422, "invalid"),
    ({**ASKED, "plugin_name": "../echoes"}, 422, "invalid"),
    ({**ASKED, "plugin_name": "echoes\n"}, 422, "invalid"),
    ({**ASKED, "plugin_name": "no-such-plugin"}, 422, "unknown-plugin"),
    ({**ASKED, "settings": []}, 422, "invalid"),
    ({**ASKED, "settings": {"a": "\ud800"}}, 422, "invalid"),
    (b'{"plugin_name": "echoes", "user_id": 7, "settings": {"a": 1e999}}', 422, "invalid"),
    (b'{"plugin_name":"echoes","user_id":7,"settings":{"a":' + b"[" * 70 + b"]" * 70 + b"}}", 422,
     "invalid"),
    ({**ASKED, "plugin_run_id": ""}, 422, "invalid"),
    ({**ASKED, "plugin_run_id": "a/b"}, 422, "invalid"),
    ({**ASKED, "plugin_run_id": "r" * 129}, 422, "invalid"),
    ({**ASKED, "priority": "urgent"}, 422, "invalid"),
    ({**ASKED, "delay_s": -1}, 422, "invalid"),
    ({**ASKED, "delay_s": 60, "at": 2_000_000_000}, 422, "invalid"),
    ({**ASKED, "unique_for_s": 0}, 422, "invalid"),
    ({**ASKED, "setings": {}}, 422, "invalid"),
    ({**ASKED, "\ud800": {}}, 422, "invalid"),
    ({**ASKED, "settings": {"text": "a" * 1_100_000}}, 413, "too-large"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "kind"), BAD)
def test_what_breaks_a_rule_is_refused_and_nothing_is_stored(gateway, world, body, status, kind):
    answer = gateway.ask(body)

    assert (answer.status_code, kind_of(answer)) == (status, kind)
    assert world.client.dbsize() == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/json; charset=latin-1"},
        {"Content_Encoding": "gzip"},
    ],
)
def test_a_body_that_does_not_say_it_is_json_is_refused(gateway, world, headers):
    answer = gateway.ask(ASKED, **headers)

    assert (answer.status_code, kind_of(answer)) == (415, "wrong-type")
    assert world.client.dbsize() == 0


@pytest.mark.parametrize("key", ["", "k" * 257])
def test_a_key_that_is_none_is_refused(gateway, world, key):
    answer = gateway.ask(ASKED, Idempotency_Key=key)

    assert (answer.status_code, kind_of(answer)) == (400, "bad-request")
    assert world.client.dbsize() == 0


def test_a_refusal_names_each_place_and_quotes_no_value(gateway):
    answer = gateway.ask({"plugin_name": "echoes", "user_id": "s3cret", "_key": "s3cret"})

    places = {place["pointer"]: place["detail"] for place in answer.json()["errors"]}
    assert places["#/user_id"] == "must be a whole number"
    assert places["#/_key"].startswith("is no key that is known (allowed: plugin_name, ")
    assert "s3cret" not in answer.text


def test_a_path_or_a_method_that_is_none_is_a_problem_too(gateway):
    missing, wrong = gateway.get("/v2/runs"), gateway.client.delete("/v1/runs")

    assert (missing.status_code, kind_of(missing)) == (404, "no-such-path")
    assert (wrong.status_code, kind_of(wrong)) == (405, "wrong-method")
    assert wrong.headers["Allow"] == "POST"


# ---- looking, cancelling


def test_a_run_is_shown_and_its_credentials_are_not(gateway, world):
    settings = {"text": "a", "_llm_api_key": "s3cret"}
    gateway.ask({**ASKED, "plugin_run_id": "r-1", "settings": settings})
    shown = gateway.get("/v1/runs/r-1")

    run = shown.json()
    assert (run["status"], run["plugin_name"], run["user_id"]) == ("pending", "echoes", 7)
    assert run["progress"]["state"] == "pending"
    assert "s3cret" not in shown.text + gateway.log()
    assert "s3cret" not in world.everything_but(REQUESTS)


@pytest.mark.parametrize("run_id", ["nobody", "%00", "a%2Fb", "r" * 500, "%F0%9F%90%8D"])
def test_a_run_that_nobody_knows_is_404(gateway, run_id):
    for answer in (
        gateway.get(f"/v1/runs/{run_id}"),
        gateway.get(f"/v1/runs/{run_id}/events"),
        gateway.cancel(run_id),
    ):
        assert (answer.status_code, kind_of(answer)) == (404, "unknown-run")


def test_a_run_is_cancelled_once(gateway, world):
    world.make_groups()
    gateway.ask({**ASKED, "plugin_run_id": "r-1"})
    first, second = gateway.cancel("r-1"), gateway.cancel("r-1")

    assert (first.status_code, first.json()) == (202, {"plugin_run_id": "r-1", "was": "pending"})
    assert (second.status_code, kind_of(second)) == (409, "has-ended")
    assert world.result("r-1")["error"] == "cancelled"
    run = gateway.get("/v1/runs/r-1").json()
    assert (run["status"], run["error"], run["progress"]) == ("failed", "cancelled", None)


def test_an_output_that_is_no_json_is_shown_as_text(gateway, world):
    for number, output in enumerate(["NaN", "[" * 5000, "\ud800", ""]):
        run_id = f"r-{number}"
        world.client.hset(f"crewpool:run:{run_id}", mapping={"state": "completed", "tokens": "x"})
        result = {"plugin_run_id": run_id, "status": "completed", "output": output, "meta": [1]}
        world.client.xadd(RESULTS, {"payload": json.dumps(result)})

        shown = gateway.get(f"/v1/runs/{run_id}").json()
        assert shown["output"] == {"raw": output.replace("\ud800", "?")}


# ---- full, and away


def test_a_queue_that_is_full_is_429_and_says_when_to_come_again(start_gateway, world):
    gateway = start_gateway(CREWPOOL_MAX_WAITING=1)
    gateway.ask(ASKED)
    answer = gateway.ask(ASKED)

    assert (answer.status_code, kind_of(answer)) == (429, "queue-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert len(payloads(world)) == 1


def test_without_a_folder_of_plugins_every_name_is_taken(start_gateway, world, tmp_path):
    gateway = start_gateway(plugin_dir=tmp_path / "none")

    assert gateway.ask({**ASKED, "plugin_name": "elsewhere"}).status_code == 202


def test_while_redis_is_away_it_is_said_and_nothing_is_accepted(own_server, start_gateway):
    gateway = start_gateway(own_server.url)
    own_server.kill()

    for answer in (gateway.ask(ASKED), gateway.get("/v1/runs/r-1"), gateway.cancel("r-1")):
        assert (answer.status_code, kind_of(answer)) == (503, "away")
        assert int(answer.headers["Retry-After"]) > 0
    wait_until(lambda: gateway.get("/health/ready").status_code == 503, what="it is not ready")
    assert gateway.get("/health/live").status_code == 200
    wait_until(lambda: gateway.ready() == 503, what="operators hear it too")
    assert len(gateway.log_lines("redis_away")) == 1

    own_server.start()
    wait_until(lambda: gateway.ask(ASKED).status_code == 202, what="runs are taken again")
    wait_until(lambda: gateway.ready() == 200, what="operators hear it too")


def test_with_records_a_run_waits_for_redis_in_the_outbox(own_server, start_gateway, tmp_path):
    gateway = start_gateway(own_server.url, CREWPOOL_RECORDS_URL=f"sqlite:///{tmp_path}/runs.db")
    own_server.kill()
    asked = {**ASKED, "settings": {"text": "a", "_key": "s3cret"}}
    accepted = gateway.ask(asked, Idempotency_Key="order-1")
    again = gateway.ask(asked, Idempotency_Key="order-1")
    other = gateway.ask({**asked, "user_id": 8}, Idempotency_Key="order-1")
    shown = gateway.get(accepted.headers["Location"])
    dropped = gateway.ask(ASKED).json()["plugin_run_id"]
    cancelled = gateway.cancel(dropped)

    assert (accepted.status_code, accepted.json()["what"]) == (202, "waiting")
    assert again.json()["plugin_run_id"] == accepted.json()["plugin_run_id"]
    assert (other.status_code, kind_of(other)) == (422, "key-reused")
    assert shown.json()["input"] == {"text": "a", "_key": "***"}
    away = {"status": "ready", "redis": "away"}
    wait_until(lambda: gateway.get("/health/ready").json() == away, what="it is told")

    own_server.start()
    wait_until(lambda: own_server.client.xlen(RESULTS) == 1, 20, "Redis has heard of the cancel")
    wait_until(lambda: own_server.client.xlen(REQUESTS) == 1, 20, "the relay has published it")
    assert (cancelled.status_code, cancelled.json()["was"]) == (202, "pending")
    assert gateway.cancel(dropped).status_code == 409
    assert gateway.get(f"/v1/runs/{dropped}").json()["error"] == "cancelled"
    assert gateway.cancel(accepted.json()["plugin_run_id"]).status_code == 202
    assert "s3cret" not in gateway.log()
