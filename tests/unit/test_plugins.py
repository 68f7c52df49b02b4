"""Finding plugins and checking what they say, without importing any of their code."""

import json
import sys
import time

import pytest

from tests.support.plugins import write_plugin
from tests.support.supervisors import DRILLS, ROOT
from worker.errors import PluginBroken, PluginNotFound, SettingsInvalid
from worker.plugins import Catalogue, check_settings, discover, load

SCHEMA = {
    "type": "object",
    "properties": {
        "topics": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "length": {"enum": ["short", "long"], "default": "short"},
    },
    "required": ["topics"],
    "additionalProperties": False,
}


@pytest.fixture
def plugin(tmp_path):
    write_plugin(tmp_path, "digest", "raise RuntimeError", schema=SCHEMA)
    return load(tmp_path / "digest")


def test_plugins_are_found_without_importing_them():
    before = set(sys.modules)

    catalogue = discover(DRILLS)

    assert {"echoes", "sleeps", "spins-in-c"} <= set(catalogue.plugins)
    assert catalogue.broken == {}
    assert set(sys.modules) == before


def test_the_samples_are_fit_for_use():
    assert discover(ROOT / "plugins").broken == {}


def test_broken_ones_are_named_with_what_is_to_be_mended():
    broken = discover(ROOT / "tests" / "plugins-broken").broken

    assert "cannot be read" in broken["broken-manifest"]
    assert "no valid schema" in broken["broken-schema"]


def test_a_folder_that_is_not_there_holds_no_plugins(tmp_path):
    assert discover(tmp_path / "nowhere") == Catalogue()


def test_files_and_hidden_folders_are_no_plugins(tmp_path):
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()

    assert discover(tmp_path) == Catalogue()


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("plugin.yaml", None, "plugin.yaml is missing"),
        ("plugin.yaml", "name: [", "cannot be read"),
        ("plugin.yaml", "", "must hold keys and values"),
        ("plugin.yaml", "name: another", "says name: 'another'"),
        ("plugin.yaml", "name: digest\ntimeout: 5", "timeout"),
        ("plugin.yaml", "name: digest\ntimeout_s: 0", "greater than 0"),
        ("plugin.yaml", "name: digest\ntimeout_s: .inf", "finite"),
        ("plugin.yaml", "name: digest\ntimeout_s: 5m", "timeout_s: must be a number"),
        ("plugin.yaml", "name: digest\nversion: 1.0", "version: must be text"),
        ("plugin.yaml", "name: digest\n1: 2", "1: is no key"),
        ("plugin.yaml", "description: x", "name: is missing"),
        ("settings.schema.json", None, "settings.schema.json is missing"),
        ("settings.schema.json", "{", "cannot be read"),
        ("settings.schema.json", "[" * 100_000, "cannot be read"),
        ("settings.schema.json", "[]", "schema"),
        ("settings.schema.json", "true", "must be an object"),
        ("settings.schema.json", '{"properties": {"a": 7}}', "no valid schema"),
        ("crew/crew.py", None, "crew/crew.py is missing"),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why(tmp_path, file, text, reason):
    path = write_plugin(tmp_path, "digest", "x = 1", schema=SCHEMA) / "digest"
    if text is None:
        (path / file).unlink()
    else:
        (path / file).write_text(text)

    with pytest.raises(PluginBroken) as told:
        load(path)

    assert reason in told.value.reason
    assert "digest" in str(told.value)


@pytest.mark.parametrize(
    "text",
    [
        "version: 2024-99-99",
        "version: !!timestamp x",
        "version: !!int x",
        "version: " + "9" * 5000,
        "description: " + "[" * 5000,
        "description: \x07",
        "description: !!python/object:os.system x",
        "{[a]: b}",
        "a: [*nobody]",
    ],
    ids=lambda text: text[:24],
)
def test_whatever_stands_in_a_plugin_yaml_the_other_plugins_serve_on(tmp_path, text):
    """PyYAML does not keep to errors of its own."""
    write_plugin(tmp_path, "whole", "x = 1")
    (write_plugin(tmp_path, "odd", "x = 1") / "odd" / "plugin.yaml").write_text(
        f"name: odd\n{text}"
    )

    catalogue = discover(tmp_path)

    assert list(catalogue.plugins) == ["whole"]
    assert catalogue.broken["odd"].startswith("plugin.yaml cannot be read")
    assert len(catalogue.broken["odd"]) < 400


CAUSE_WORDS = "exception, timeout, crash, oom, lost, invalid, cancelled, rate_limited, needs_human"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timout_s: 5", "unknown key timout_s, did you mean timeout_s? (allowed: retry, limits"),
        ("limit: {}", "unknown key limit, did you mean limits?"),
        ("nonsense: 1", "unknown key nonsense (allowed: retry, limits, name"),
        (
            "retry: {excepton: 2}",
            f"retry.excepton, did you mean exception? (allowed: {CAUSE_WORDS})",
        ),
        ("retry: {rate-limited: 2}", "unknown key retry.rate-limited, did you mean rate_limited?"),
        (
            "retry: {crash: {backof_s: 1}}",
            "unknown key retry.crash.backof_s, did you mean backoff_s?",
        ),
        (
            "retry: {crash: yes}",
            "retry.crash: must be none, a number of starts, or attempts, backoff_s",
        ),
        ("retry: {crash: '2'}", "retry.crash: must be none, a number of starts"),
        ("retry: {crash: 1.5}", "retry.crash: must be none, a number of starts"),
        ("retry: {crash: 0}", "retry.crash.attempts: must be at least 1"),
        ("retry: {crash: -2}", "retry.crash.attempts: must be at least 1"),
        ("retry: {crash: 101}", "retry.crash.attempts: must be at most 100"),
        ("retry: {crash: {attempts: yes}}", "retry.crash.attempts: must be a whole number"),
        ("retry: {crash: {backoff_s: -1}}", "retry.crash.backoff_s: must be at least 0"),
        ("retry: {crash: {backoff_s: .nan}}", "retry.crash.backoff_s: must be a finite number"),
        ("retry: {crash: {backoff_s: 5m}}", "retry.crash.backoff_s: must be a number"),
        ("retry: {crash: {backoff_s: 100000}}", "retry.crash.backoff_s: must be at most 86400"),
        ("retry: {crash: {backoff_s: 600}}", "backoff_s (600) must be at most backoff_max_s (300)"),
        ("retry: {invalid: 3}", "retry.invalid: a run that was invalid is never started again"),
        (
            "retry: {cancelled: 2}",
            "retry.cancelled: a run that was cancelled is never started again",
        ),
        ("retry: none", f"retry: must hold keys and values (allowed: {CAUSE_WORDS})"),
        ("retry:", "retry: must hold keys and values"),
        ("limits: 5", "limits: must hold keys and values (allowed: max_concurrency, rate)"),
        ("limits: {max_concurency: 2}", "limits.max_concurency, did you mean max_concurrency?"),
        ("limits: {max_concurrency: 0}", "limits.max_concurrency: must be at least 1"),
        ("limits: {max_concurrency: -1}", "limits.max_concurrency: must be at least 1"),
        ("limits: {max_concurrency: yes}", "limits.max_concurrency: must be a whole number"),
        ("limits: {max_concurrency: 1.5}", "limits.max_concurrency: must be a whole number"),
        ("limits: {rate: 10/x}", "limits.rate: must look like 10/m"),
        ("limits: {rate: 10}", "limits.rate: must look like 10/m"),
        ("limits: {rate: 0/s}", "limits.rate: must look like 10/m"),
        ("limits: {rate: -1/s}", "limits.rate: must look like 10/m"),
        ("limits: {rate: 1001/s}", "limits.rate.starts: must be at most 1000"),
        ("limits: {rate: 1/0s}", "limits.rate.period_s: must be greater than 0"),
        ("limits: {rate: {starts: 1}}", "limits.rate.period_s: is missing"),
        ("timeout_s: yes", "timeout_s: must be a number"),
    ],
)
def test_what_is_wrong_in_plugin_yaml_is_told_with_its_key_and_what_is_allowed(
    tmp_path, text, told
):
    path = write_plugin(tmp_path, "digest", "x = 1", manifest=text) / "digest"

    with pytest.raises(PluginBroken) as broken:
        load(path)

    assert told in broken.value.reason
    assert broken.value.reason.startswith("plugin.yaml: ")


def test_all_that_is_wrong_is_told_at_once_but_not_a_page_of_it(tmp_path):
    keys = "\n".join(f"nonsense_{n}: 1" for n in range(1000))
    write_plugin(tmp_path, "digest", "x = 1", manifest=keys)
    began_s = time.thread_time()

    assert 2 <= discover(tmp_path).broken["digest"].count("unknown key") <= 5

    assert time.thread_time() - began_s < 2


@pytest.mark.parametrize("name", ["Upper", "-dash", "a b", "a.b", "x" * 65, "ö"])
def test_odd_names_of_folders_are_refused(tmp_path, name):
    write_plugin(tmp_path, name, "x = 1")

    assert "must match" in discover(tmp_path).broken[name]


def test_an_unknown_plugin_is_told_with_those_that_are_known(tmp_path):
    write_plugin(tmp_path, "digest", "x = 1")
    catalogue = discover(tmp_path)

    with pytest.raises(PluginNotFound, match=r"'digset' \(known here: digest\)"):
        catalogue.find("digset")


def test_settings_get_the_defaults_of_the_schema(plugin):
    assert check_settings(plugin, {"topics": ["a"]}) == {"topics": ["a"], "length": "short"}


def test_settings_that_were_given_are_kept(plugin):
    given = {"topics": ["a"], "length": "long"}

    assert check_settings(plugin, given) == given


def test_credentials_pass_unchecked_and_are_not_called_unknown(plugin):
    checked = check_settings(plugin, {"topics": ["a"], "_llm_api_key": "k", "_x": {"y": 1}})

    assert checked["_llm_api_key"] == "k"
    assert checked["_x"] == {"y": 1}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "topics is required"),
        ({"topics": []}, "topics: must satisfy minItems: 1"),
        ({"topics": [7]}, "topics/0: must be of type string"),
        ({"topics": ["a"], "lenght": 1}, "unknown key lenght (allowed: topics, length)"),
        ({"topics": ["a"], "length": "medium"}, "length: must be one of short, long"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_rule(plugin, settings, told):
    with pytest.raises(SettingsInvalid) as error:
        check_settings(plugin, settings)

    assert told in str(error.value)


def test_no_value_is_quoted(plugin):
    """It may be a secret in the wrong place."""
    secret = "sk-0123456789abcdef"
    for settings in ({"topics": secret}, {"topics": [{"k": secret}]}, {"length": secret}):
        with pytest.raises(SettingsInvalid) as told:
            check_settings(plugin, settings)
        assert secret not in str(told.value)


def test_five_problems_are_enough(plugin):
    with pytest.raises(SettingsInvalid) as told:
        check_settings(plugin, {"topics": list(range(1000))})

    assert len(told.value.problems) == 5
    assert len(str(told.value)) < 2000


def test_a_name_of_megabytes_does_not_fill_the_error(plugin):
    with pytest.raises(SettingsInvalid) as told:
        check_settings(plugin, {"topics": ["a"], "k" * 1_000_000: 1})
    assert len(str(told.value)) < 1000

    with pytest.raises(PluginNotFound) as told_name:
        Catalogue().find("n" * 1_000_000)
    assert len(str(told_name.value)) < 1000


def test_the_schema_is_data_and_stays_unchanged(plugin):
    before = json.dumps(plugin.schema)

    check_settings(plugin, {"topics": ["a"]})["topics"].append("b")
    check_settings(plugin, {"topics": ["a"]})

    assert json.dumps(plugin.schema) == before


def test_defaults_are_not_shared_between_runs(tmp_path):
    schema = {"type": "object", "properties": {"feeds": {"type": "array", "default": ["one"]}}}
    plugin = load(write_plugin(tmp_path, "digest", "x = 1", schema=schema) / "digest")

    check_settings(plugin, {})["feeds"].append("two")

    assert check_settings(plugin, {})["feeds"] == ["one"]
