"""`crewpool demo`: what a visitor sees first, with real crews, and nothing left of it."""

import json
import re
import shutil
import signal

import pytest

from tests.support.supervisors import ROOT
from tests.support.waiting import wait_until

# Foreign settings on purpose: the demo is the same on every machine.
FOREIGN = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "PLUGIN_DIR": None,
    "CREWPOOL_HTTP_PORT": "1",
    "CREWPOOL_PRELOAD": "no_such_module",
    "CREWPOOL_REQUESTS_STREAM": "elsewhere",
    "OPENAI_API_KEY": "sk-never-used-in-a-demo",
    "MODEL": "gpt-of-somebody",
}
RUNS = (
    *("news-technology", "overruns", "news-science", "news-business"),
    *("not-json", "wrong-type", "news-climate"),
)


def test_it_accounts_for_every_run_and_leaves_nothing_behind(crewpool):
    shown = crewpool("demo", within_s=120, **FOREIGN)

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("# Daily news digest: technology\n")
    assert "Northport's ferries switch to sodium batteries" in shown.stdout
    for run_id in RUNS:
        assert re.search(rf"^{run_id} .* (completed|failed) ", shown.stdout, re.MULTILINE)
        assert f"\n{run_id}" in shown.stderr, "its way was shown"
    assert re.search(r"^overruns +Workflow exceeded 3s timeout$", shown.stdout, re.MULTILINE)
    assert re.search(r"^not-json +The payload is not valid JSON", shown.stdout, re.MULTILINE)
    assert re.search(r"^wrong-type +Settings do not fit", shown.stdout, re.MULTILINE)
    assert (
        "7 runs, 7 results, exactly one each: 4 completed, 3 failed as they had to. "
        "Nothing is pending." in shown.stdout
    )
    assert "OPENAI_API_KEY is not used here" in shown.stderr
    assert "sk-never" not in shown.stdout + shown.stderr
    assert list(crewpool.tmp.iterdir()) == []


def test_as_json_it_tells_the_same(crewpool):
    shown = crewpool("demo", "--json", within_s=120, PLUGIN_DIR=ROOT / "plugins")

    data = json.loads(shown.stdout)
    assert shown.returncode == 0, shown.stderr
    assert data["ok"] is True
    assert [run["run"] for run in data["runs"]] == list(RUNS)
    assert {run["results"] for run in data["runs"]} == {1}
    killed = next(run for run in data["runs"] if run["run"] == "overruns")
    assert 3.0 <= killed["seconds"] < 3.5
    assert data["digest"].startswith("# Daily news digest")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_when_it_is_stopped_nothing_is_left_behind(crewpool, signum):
    running = crewpool.start("demo", PLUGIN_DIR=ROOT / "plugins")
    running.wait_for("running", within_s=60)
    below = running.below()
    running.signal(signum)

    assert running.wait_exit() == 128 + signum
    assert "Traceback" not in running.err
    wait_until(lambda: not any(p.is_running() for p in below), what="all its processes are gone")
    assert list(crewpool.tmp.iterdir()) == []


def test_a_run_that_ends_otherwise_is_exit_code_1_with_the_reason_and_the_log(crewpool, tmp_path):
    plugins = tmp_path / "plugins"
    shutil.copytree(ROOT / "plugins", plugins)
    crew = plugins / "daily-news-digest" / "crew" / "crew.py"
    crew.write_text("def create_crew(settings):\n    raise RuntimeError('broken on purpose')\n")

    failed = crewpool("demo", within_s=120, PLUGIN_DIR=plugins)

    assert failed.returncode == 1
    assert "The demo went wrong: news-technology ended as failed" in failed.stderr
    assert "broken on purpose" in failed.stderr
    assert "The supervisor's last lines:" in failed.stderr
    assert " stopped exit=0" in failed.stderr or " run_failed " in failed.stderr
    assert list(crewpool.tmp.iterdir()) == []


def test_where_no_sample_plugin_is_found_the_one_beside_the_package_serves(crewpool, tmp_path):
    running = crewpool.start("demo", PLUGIN_DIR=tmp_path)
    running.wait_for("news-technology  ")
    running.signal(signal.SIGTERM)

    assert running.wait_exit() == 128 + signal.SIGTERM
