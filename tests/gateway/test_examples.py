"""The examples of docs/integrate.md do what stands there."""

import re
import shlex

import pytest

from supervisor.gateway.problems import KINDS
from tests.support.supervisors import ROOT

PAGE = (ROOT / "docs" / "integrate.md").read_text("utf-8")
SECTION = re.split(r"^## ", PAGE.partition("\n## HTTP\n")[2], flags=re.MULTILINE)[0]
SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL))
LINES = [line for line in SHELL.splitlines() if line.startswith("curl ")]
ADDRESS = "http://127.0.0.1:8080"


def asked_by(line):
    """Return what curl would ask: method, path, headers, body. Unknown options are an error."""
    words = shlex.split(line)[1:]
    method, path, headers, body = "GET", None, {}, None
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "--json":
            method, body = "POST", words.pop(0)
            headers["Content-Type"] = "application/json"
        elif word != "-N":
            assert word.startswith(ADDRESS), word
            path = word.removeprefix(ADDRESS)
    return method, path, headers, body


@pytest.fixture(scope="module")
def sample_gateway(start_shared):
    return start_shared(plugin_dir=ROOT / "plugins")


def test_there_are_examples_of_all_operations():
    assert {line.partition("/")[2].partition("8080")[2].split()[0] for line in LINES} == {
        "/v1/runs",
        "/v1/runs/RUN",
        "/v1/runs/RUN/events",
        "/v1/runs/RUN/cancel",
        "/openapi.json",
        "/health/live",
        "/health/ready",
    }


@pytest.mark.parametrize("line", LINES)
def test_each_example_is_answered(sample_gateway, world, line):
    world.make_groups()
    asked = {"plugin_name": "hello", "user_id": 42, "plugin_run_id": "a-run"}
    assert sample_gateway.ask(asked).status_code == 202
    method, path, headers, body = asked_by(line)
    path = path.replace("RUN", "a-run")

    with sample_gateway.client.stream(method, path, headers=headers, content=body) as answer:
        assert answer.status_code in (200, 202)
        if path.endswith("/events"):
            assert next(answer.iter_lines()) == "event: progress"


def test_each_kind_of_problem_is_told_with_its_status():
    told = {}
    for statuses, kinds in re.findall(r"^\| ([\d, ]+) \| (.+?) \|", SECTION, re.MULTILINE):
        for kind in re.findall(r"`([a-z-]+)`", kinds):
            told[kind] = [int(status) for status in statuses.split(", ")]

    assert told.keys() == KINDS.keys()
    assert all(KINDS[kind][0] in statuses for kind, statuses in told.items())
