"""The doctor's look at the gateway's settings."""

from contextlib import closing

import pytest

from supervisor.cli.checks_records import of_gateway
from supervisor.configuration import load
from supervisor.listening import listen


@pytest.fixture
def examined(monkeypatch, tmp_path):
    """What is found about a gateway that is set so in the environment: level and all about it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREWPOOL_GATEWAY_HTTP_PORT", "0")

    def examined(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(f"CREWPOOL_GATEWAY_{name}", str(value))
        return [(f.level, f"{f.said} | {f.cure}") for f in of_gateway(load())]

    return examined


@pytest.fixture
def tokens(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o600)
    return file


def test_a_gateway_that_nobody_set_is_not_looked_at(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert of_gateway(load()) == []


def test_one_with_tokens_is_good_news(examined, tokens):
    found = examined(HOST="0.0.0.0", PORT=0, TOKEN_FILE=tokens)

    assert {level for level, _ in found} == {"good"}
    assert "0123456789abcdef" not in str(found)


def test_one_that_others_reach_without_tokens_is_a_problem(examined):
    ((level, told),) = examined(HOST="0.0.0.0", PORT=0)

    assert level == "problem"
    assert "CREWPOOL_GATEWAY_TOKEN_FILE" in told


def test_tokens_that_others_may_read_are_told(examined, tokens):
    tokens.chmod(0o644)
    found = examined(PORT=0, TOKEN_FILE=tokens)

    assert (
        "warning",
        f"Others on this machine may read {tokens} or write to it | chmod 600 {tokens}",
    ) in found


def test_tokens_that_cannot_be_used_are_a_problem(examined, tokens):
    tokens.write_text("short\n")
    ((level, told),) = examined(PORT=0, TOKEN_FILE=tokens)

    assert level == "problem"
    assert told.endswith("| openssl rand -hex 32 makes one")


def test_a_port_that_something_else_has_is_a_problem(examined, monkeypatch):
    monkeypatch.setenv("CREWPOOL_GATEWAY_PORT", "0")
    with closing(listen(load(), "gateway_host", "gateway_port")) as taken:
        taken.settimeout(5)
        port = taken.getsockname()[1]
        monkeypatch.setattr("supervisor.cli.health.TIMEOUT_S", 0.1)
        found = examined(PORT=port)

    ((told, cure),) = [about.split(" | ") for level, about in found if level == "problem"]
    assert f"cannot listen on port {port}" in told
    assert "choose another" in cure
