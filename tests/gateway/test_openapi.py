"""The document tells the truth: requests made from it never break the gateway."""

import json
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from supervisor.gateway.openapi import document
from supervisor.gateway.operations import OPERATIONS

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(document(has_tokens=False))))
MODES = list(schemathesis.GenerationMode)
SCHEMA.config.generation.update(modes=MODES)
# Runs in all states, and records that nobody should have written.
RECORDS = {
    "waits": {"state": "pending", "plugin": "hello"},
    "runs": {"state": "running", "attempt": "1", "task": "2", "tasks": "x", "agent": "\x00"},
    "ended": {"state": "completed", "started_at": "1.5", "ended_at": "nan"},
    "failed": {"state": "failed", "error": "timeout", "started_at": "9" * 400},
    "odd": {"state": "\n", "attempt": "9" * 30, "user_id": "-3", "due_at": "1e300"},
}
KNOWN = (*RECORDS, "forgotten")


@pytest.fixture(scope="module")
def gateway(start_shared, any_server, tmp_path_factory):
    """A gateway that knows some runs, and takes every plugin."""
    any_server.empty()
    for run_id, facts in RECORDS.items():
        any_server.client.hset(f"crewpool:run:{run_id}", mapping=facts)
    any_server.client.set("crewpool:done:forgotten", "1-1")
    return start_shared(plugin_dir=tmp_path_factory.mktemp("none"))


def test_the_document_that_is_served_is_the_one_that_is_made(gateway):
    answer = gateway.get("/openapi.json")

    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == document(has_tokens=False)


def test_every_operation_is_told_with_its_answers():
    paths = document(has_tokens=True)["paths"]

    for operation in OPERATIONS:
        told = paths[operation.path][operation.method.lower()]
        assert {str(status) for status in operation.answers} <= told["responses"].keys()
        assert ("401" in told["responses"]) is not operation.is_public
    assert paths["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/RunRequest"
    }


@SCHEMA.exclude(path_regex="/events$").parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_of_the_document_breaks_the_gateway(case, gateway):
    number = crc32(str(case.path_parameters).encode())
    if "run_id" in (case.path_parameters or {}) and number % 2:
        case.path_parameters["run_id"] = KNOWN[number // 2 % len(KNOWN)]
    answer = case.call(base_url=gateway.url)
    case.validate_response(answer, checks=CHECKS)
