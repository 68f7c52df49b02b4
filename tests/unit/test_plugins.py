"""Finding plugins and checking what they say, without importing any of their code."""

import json
import sys

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
