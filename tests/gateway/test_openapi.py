"""The document tells the truth: requests made from it never break the gateway."""

import json

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


def test_the_document_that_is_served_is_the_one_that_is_made(shared):
    answer = shared.get("/openapi.json")

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
def test_no_request_of_the_document_breaks_the_gateway(case, shared):
    answer = case.call(base_url=shared.url)
    case.validate_response(answer, checks=CHECKS)
