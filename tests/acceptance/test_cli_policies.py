"""A plugin.yaml with a mistake in its policies, as the commands show it to its author."""

import json

import pytest

from tests.support.plugins import write_crew


@pytest.fixture
def plugins(tmp_path):
    """Return a folder with one plugin that is well and three that are not."""
    folder = tmp_path / "plugins"
    manifests = {
        "well": "retry: {exception: 2, crash: none}\nlimits: {max_concurrency: 1, rate: 10/m}",
        "misspelt": "timout_s: 5",
        "unit": "limits: {rate: 10/x}",
        "final": "retry: {invalid: 3}",
    }
    for name, manifest in manifests.items():
        write_crew(folder, name, "return '# Well'", manifest=manifest)
    return folder


TOLD = {
    "misspelt": "plugin.yaml: line 2: unknown key timout_s, did you mean timeout_s? (allowed: ",
    "unit": "plugin.yaml: line 2: limits.rate: must look like 10/m or 100/5m: up to 1000 starts",
    "final": "plugin.yaml: line 2: retry.invalid: a run that was invalid is never started again",
}


def test_plugins_list_tells_each_with_its_key_and_what_is_allowed(crewpool, plugins):
    listed = crewpool("plugins", "list", PLUGIN_DIR=plugins)
    data = json.loads(crewpool("plugins", "list", "--json", PLUGIN_DIR=plugins).stdout)

    assert listed.returncode == 1
    assert listed.stdout.splitlines()[1].startswith("well ")
    assert set(data["broken"]) == set(TOLD)
    for name, told in TOLD.items():
        assert data["broken"][name].startswith(told)
        assert f"{name} is broken: {told}" in " ".join(listed.stderr.split())


def test_doctor_tells_them_too_and_the_others_are_imported(crewpool, plugins, own_server):
    examined = crewpool("doctor", "--json", REDIS_URL=own_server.url, PLUGIN_DIR=plugins)
    found = json.loads(examined.stdout)["findings"]
    problems = [f["said"] for f in found if (f["topic"], f["level"]) == ("plugins", "problem")]

    assert examined.returncode == 1
    assert len(problems) == len(TOLD)
    for name, told in TOLD.items():
        assert any(said.startswith(f"{name}: {told}") for said in problems), name
    good = [f["said"] for f in found if (f["topic"], f["level"]) == ("plugins", "good")]
    assert good == ["well"]


def test_wrong_retries_in_the_settings_are_exit_code_2_with_their_key(crewpool, plugins):
    refused = crewpool("plugins", "list", PLUGIN_DIR=plugins, CREWPOOL_RETRY='{"crash": yes}')
    misspelt = crewpool("plugins", "list", PLUGIN_DIR=plugins, CREWPOOL_RETRY='{"crush": 2}')

    assert refused.returncode == misspelt.returncode == 2
    assert 'CREWPOOL_RETRY: must be JSON, such as {"exception": 2}' in refused.stderr
    assert "unknown key retry.crush, did you mean crash?" in " ".join(misspelt.stderr.split())
