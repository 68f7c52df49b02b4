"""Operators see what was asked and refused; no run, path or user is a label."""

from tests.gateway.test_follow import put_record, put_result
from tests.support.waiting import wait_until

ASKED = {"plugin_name": "echoes", "user_id": 7}
NAMES = {
    "crewpool_gateway_connections",
    "crewpool_gateway_event_streams",
    "crewpool_gateway_held_bytes",
}


def requests(operation, status):
    return f'crewpool_gateway_requests_total{{operation="{operation}",status="{status}"}}'


def test_requests_are_counted_by_operation_and_class(gateway, world):
    before = gateway.metrics()
    for _ in range(2):
        gateway.ask({**ASKED, "plugin_run_id": "r-1"})
    gateway.ask({})
    gateway.get("/v1/runs/nobodys")
    gateway.get("/no/such/path")
    gateway.client.put("/v1/runs")
    after = gateway.metrics()
    grown = {name: value - before.get(name, 0) for name, value in after.items()}

    assert (grown[requests("ask", "2xx")], grown[requests("ask", "4xx")]) == (2, 1)
    assert (grown[requests("show", "4xx")], grown[requests("other", "4xx")]) == (1, 2)
    assert grown['crewpool_gateway_refused_total{reason="invalid"}'] == 1
    assert grown['crewpool_gateway_refused_total{reason="unknown-run"}'] == 1
    assert grown['crewpool_gateway_request_seconds_count{operation="ask"}'] == 3
    assert after.keys() >= NAMES
    new = after.keys() - before.keys()
    assert all(name.startswith("crewpool_gateway_request_seconds") for name in new)
    assert not any("r-1" in name or "nobodys" in name for name in after)


def test_followers_are_counted_while_they_follow(gateway, world):
    put_record(world, state="running")
    events = gateway.follow("r-1")
    next(events)
    before = gateway.metrics()
    put_result(world)
    list(events)

    assert before["crewpool_gateway_event_streams"] == 1
    assert before["crewpool_gateway_connections"] >= 1
    wait_until(lambda: gateway.metrics()["crewpool_gateway_event_streams"] == 0, what="it left")
    assert gateway.metrics()[requests("events", "2xx")] == before[requests("events", "2xx")] + 1
