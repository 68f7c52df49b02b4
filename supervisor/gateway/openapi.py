"""The OpenAPI 3.1 document of the gateway, made of the table of operations and the models."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from supervisor import __version__
from supervisor.gateway import problems
from supervisor.gateway.models import End, Ending, Problem, Step
from supervisor.gateway.operations import EVENT_STREAM, OPERATIONS, Operation

_REF = "#/components/schemas/{model}"
_WITH_RETRY = (429, 503)


def document(*, has_tokens: bool) -> dict[str, Any]:
    """Return the document. With tokens it says that one is needed."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _told(
            operation, has_tokens=has_tokens
        )
    components: dict[str, Any] = {"schemas": _schemas()}
    if has_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    told = "Runs CrewAI crews: ask for a run, look at it, follow it, cancel it."
    return {
        "openapi": "3.1.0",
        "info": {"title": "crewpool", "version": __version__, "description": told},
        "paths": paths,
        "components": components,
    }


def _schemas() -> dict[str, Any]:
    modes: dict[type[BaseModel], JsonSchemaMode] = dict.fromkeys(
        (Step, Ending, End, Problem), "serialization"
    )
    for operation in OPERATIONS:
        modes.update(dict.fromkeys(filter(None, operation.answers.values()), "serialization"))
        if operation.asks:
            modes[operation.asks] = "validation"
    _, found = models_json_schema(list(modes.items()), ref_template=_REF)
    return dict(found["$defs"])


def _told(operation: Operation, *, has_tokens: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {str(s): _answer(operation, s, m) for s, m in operation.answers.items()},
    }
    if operation.description:
        told["description"] = operation.description
    if parameters := _parameters(operation):
        told["parameters"] = parameters
    if operation.asks:
        content = {"application/json": {"schema": _ref(operation.asks)}}
        told["requestBody"] = {"required": True, "content": content}
    kinds = list(operation.problems)
    if not operation.is_public:
        kinds += ["unauthorized"] if has_tokens else ["misdirected", "foreign-page"]
        if has_tokens:
            told["security"] = [{"token": []}]
    for status in sorted({problems.KINDS[kind][0] for kind in kinds}):
        named = [kind for kind in kinds if problems.KINDS[kind][0] == status]
        told["responses"].setdefault(str(status), _problem(status, named))
    return told


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if operation.is_of_a_run:
        schema = {"type": "string", "minLength": 1, "maxLength": 128}
        found.append({"name": "run_id", "in": "path", "required": True, "schema": schema})
    for name, meaning in operation.headers.items():
        schema = {"type": "string", "minLength": 1, "maxLength": 256}
        found.append({"name": name, "in": "header", "description": meaning, "schema": schema})
    return found


def _answer(operation: Operation, status: int, model: type[BaseModel] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if model is not None:
        told["content"] = {"application/json": {"schema": _ref(model)}}
    elif status == HTTPStatus.OK:
        is_stream = operation.is_of_a_run
        schema = {"type": "string"} if is_stream else {"type": "object"}
        told["content"] = {EVENT_STREAM if is_stream else "application/json": {"schema": schema}}
    if operation.asks and status < HTTPStatus.BAD_REQUEST:
        told["headers"] = {"Location": {"schema": {"type": "string"}, "required": True}}
    return told


def _problem(status: int, kinds: list[str]) -> dict[str, Any]:
    titles = "; ".join(f"{problems.KINDS[kind][1]} (`{kind}`)" for kind in kinds)
    told: dict[str, Any] = {
        "description": titles,
        "content": {problems.CONTENT_TYPE: {"schema": _ref(Problem)}},
    }
    if status in _WITH_RETRY:
        told["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    return told


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
