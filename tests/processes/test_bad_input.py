"""Whatever a producer writes: a dead letter with the reason, a result where the run can be
named, and a pool that does not notice (promise P6).
"""

import json
from dataclasses import dataclass, field

import pytest

from tests.support.redis_world import REQUESTS, RedisWorld, assert_keeps_the_contract
from tests.support.waiting import wait_until
from tests.support.yard import Yard

SECRET = "sk-0123456789abcdef"


def request(run_id, **changes):
    body = {"plugin_run_id": run_id, "plugin_name": "echoes", "user_id": 1, "settings": {}}
    return json.dumps({k: v for k, v in (body | changes).items() if v is not ...})


def deep(levels):
    return "[" * levels + "]" * levels


# name: (fields of the entry, reason, words of the error). "RUN" stands for the run's id.
CASES = {
    "not-json": ({"payload": '{"plugin_run_id": "RUN", '}, "not_json", "not valid JSON"),
    "too-large": (
        {"payload": request("RUN", settings={"text": "x" * 10_000_000})},
        "too_large",
        "at most 1048576",
    ),
    "unknown-plugin": ({"payload": request("RUN", plugin_name="nobody")}, "unknown_plugin", "echo"),
    "climbs": ({"payload": request("RUN", plugin_name="../x")}, "invalid_plugin_name", "pattern"),
    "absolute": ({"payload": request("RUN", plugin_name="/etc")}, "invalid_plugin_name", "pattern"),
    "newline": ({"payload": request("RUN", plugin_name="a\nb")}, "invalid_plugin_name", "pattern"),
    "empty-name": ({"payload": request("RUN", plugin_name="")}, "invalid_plugin_name", "pattern"),
    "no-name": ({"payload": request("RUN", plugin_name=...)}, "invalid_request", "plugin_name"),
    "name-is-list": ({"payload": request("RUN", plugin_name=["x"])}, "invalid_request", "string"),
    "against-schema": (
        {"payload": request("RUN", settings={"text": 7, "unknown": 1})},
        "invalid",
        "unknown",
    ),
    "settings-is-list": ({"payload": request("RUN", settings=[1])}, "invalid_request", "object"),
    "settings-is-text": (
        {"payload": request("RUN", settings=json.dumps({"_llm_api_key": SECRET}))},
        "invalid_request",
        "object",
    ),
    "user-is-true": ({"payload": request("RUN", user_id=True)}, "invalid_request", "user_id"),
    "user-is-negative": ({"payload": request("RUN", user_id=-1)}, "invalid_request", "user_id"),
    "user-is-huge": ({"payload": request("RUN", user_id=2**64)}, "invalid_request", "2^64"),
    "user-is-float": ({"payload": request("RUN", user_id=1.0)}, "invalid_request", "user_id"),
    "user-is-absent": ({"payload": request("RUN", user_id=...)}, "invalid_request", "user_id"),
    "version": (
        {"payload": request("RUN"), "schema_version": "v9"},
        "unsupported_schema",
        "'v9' is not supported",
    ),
    "deep-settings": (
        {"payload": request("RUN", settings={"a": "DEEP"}).replace('"DEEP"', deep(70))},
        "invalid_request",
        "nested deeper",
    ),
    "very-deep": (
        {"payload": request("RUN", settings={"a": "DEEP"}).replace('"DEEP"', deep(100_000))},
        "not_json",
        "JSON",
    ),
    "surrogate": (
        {"payload": request("RUN", settings={"text": "\ud83d"})},
        "invalid_request",
        "Unicode",
    ),
    "nan": ({"payload": request("RUN", settings={"text": float("nan")})}, "not_json", "NaN"),
    "infinite": (
        {"payload": request("RUN", settings={"text": 0}).replace("0}", "1e999}")},
        "invalid_request",
        "finite",
    ),
    "huge-int": (
        {"payload": request("RUN", settings={"text": 0}).replace("0}", "9" * 5000 + "}")},
        "not_json",
        "JSON",
    ),
    "big-int": (
        {"payload": request("RUN", settings={"text": 0}).replace("0}", "9" * 4000 + "}")},
        "invalid",
        "text",
    ),
    "bytes": (
        {"payload": b'{"plugin_run_id": "RUN", "settings": "\xff\xfe"}'},
        "invalid_request",
        "plugin_name",
    ),
}
# Entries in which no run can be named: nobody can be answered.
NAMELESS = {
    "empty": ({"payload": ""}, "not_json"),
    "no-payload": ({"something": "else"}, "no_payload"),
    "null": ({"payload": "null"}, "invalid_request"),
    "list": ({"payload": "[1, 2]"}, "invalid_request"),
    "text": ({"payload": '"text"'}, "invalid_request"),
    "id-is-number": ({"payload": request(7)}, "invalid_request"),
    "id-is-empty": ({"payload": request("")}, "invalid_request"),
    "id-is-long": ({"payload": request("x" * 129)}, "invalid_request"),
    "id-has-newline": ({"payload": request("a\nb")}, "invalid_request"),
    "id-has-zero": ({"payload": request("a\0b")}, "invalid_request"),
    "binary": ({"payload": bytes(range(256)) * 4}, "not_json"),
}


@dataclass
class Aftermath:
    """What was left when all of it had been published at once to one small pool."""

    letters: dict = field(default_factory=dict)
    results: dict = field(default_factory=dict)
    everything: str = ""
    pids: tuple = ()
    titles: list = field(default_factory=list)
    log: str = ""
    pending: list = field(default_factory=list)
    deaths: list = field(default_factory=list)


@pytest.fixture(scope="module")
def aftermath(any_server, tmp_path_factory):
    any_server.empty()
    world = RedisWorld(any_server.client)
    with Yard(tmp_path_factory.mktemp("bad-input")) as yard:
        supervisor = yard.start(any_server.url).wait_idle()
        before = supervisor.worker_pids()
        ids = {}
        for name, (fields, *_) in {**CASES, **NAMELESS}.items():
            named = {k: _with_run(v, f"run-{name}") for k, v in fields.items()}
            ids[world.client.xadd(REQUESTS, named)] = name
        good = [world.publish(f"good-{n}") for n in range(3)]
        wait_until(lambda: world.have_results(good), 20)
        wait_until(lambda: len(world.dead_letters()) == len(CASES) + len(NAMELESS), 20)
        wait_until(lambda: not world.pending())
        facts = Aftermath(
            letters={ids[letter["entry_id"]]: letter for letter in world.dead_letters()},
            results={result["plugin_run_id"]: result for result in world.results()},
            everything=world.everything_but(REQUESTS),
            pids=(before, supervisor.worker_pids()),
            titles=supervisor.titles(),
            log=supervisor.log(),
            pending=world.pending(),
            deaths=supervisor.log_lines("worker_died"),
        )
        assert len(facts.results) == len(world.results())
        assert supervisor.stop() == 0
    return facts


def _with_run(value, run_id):
    if isinstance(value, bytes):
        return value.replace(b"RUN", run_id.encode())
    return value.replace("RUN", run_id)


@pytest.mark.parametrize("name", CASES)
def test_it_is_a_dead_letter_with_the_reason_and_a_failed_result(aftermath, name):
    _, reason, words = CASES[name]
    letter, result = aftermath.letters[name], aftermath.results[f"run-{name}"]

    assert letter["reason"] == reason
    assert letter["class"] == "invalid"
    assert words in letter["last_error"]
    assert result["error"] == letter["last_error"]
    assert_keeps_the_contract(result)


@pytest.mark.parametrize("name", NAMELESS)
def test_what_names_no_run_is_a_dead_letter_and_answers_nobody(aftermath, name):
    assert aftermath.letters[name]["reason"] == NAMELESS[name][1]


def test_nobody_else_is_answered(aftermath):
    expected = {f"run-{name}" for name in CASES} | {f"good-{n}" for n in range(3)}

    assert set(aftermath.results) == expected


def test_the_pool_does_not_notice(aftermath):
    before, after = aftermath.pids

    assert before == after
    assert aftermath.deaths == []
    assert aftermath.pending == []
    assert all(aftermath.results[f"good-{n}"]["status"] == "completed" for n in range(3))


def test_no_credential_is_kept(aftermath):
    assert SECRET not in aftermath.everything
    assert SECRET not in aftermath.log


def test_large_and_odd_payloads_stay_small_in_letters(aftermath):
    assert max(len(letter["payload"]) for letter in aftermath.letters.values()) < 200_000
    assert len(aftermath.letters["too-large"]["payload"]) < 2000


def test_the_log_has_one_line_for_each_and_nothing_broke_it(aftermath):
    buried = [line for line in aftermath.log.splitlines() if " run_buried " in line]

    assert len(buried) == len(CASES) + len(NAMELESS)
    assert "Traceback" not in aftermath.log
    assert not [c for c in aftermath.log if ord(c) < 32 and c != "\n"]


def test_results_of_the_plugins_own_check_name_the_rule_and_not_the_value(aftermath):
    error = aftermath.results["run-against-schema"]["error"]

    assert "unknown key unknown" in error
    assert "allowed: text, topics" in error
