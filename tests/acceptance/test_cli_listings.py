"""`workers`, `plugins list`, `config show`: the same content for people and for programs."""

import json
import re
import time

import pytest

from tests.support.supervisors import DRILLS, ROOT
from tests.support.waiting import wait_until

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


def test_workers_shows_each_slot_and_what_it_runs(crewpool, redis_server, supervisor, world):
    world.publish("r-shown", "sleeps", {"seconds": 30})
    url = redis_server.url

    def busy():
        (host,) = json.loads(crewpool("workers", "--json", REDIS_URL=url).stdout)
        return [slot for slot in host["workers"] if slot["state"] == "busy"]

    (slot,) = wait_until(busy, what="the heartbeat shows the run")
    shown = crewpool("workers", REDIS_URL=url).stdout

    assert (slot["run"], slot["plugin"], slot["timeout_s"]) == ("r-shown", "sleeps", 300)
    assert slot["pid"] == supervisor.worker_pids()[slot["slot"]]
    assert slot["rss_bytes"] > 0
    title, _, *rows = shown.splitlines()
    assert re.match(rf"\S+  running, 1 of 2 busy, pid {supervisor.pid}, \d", title)
    row = next(row for row in rows if row.startswith(f"s{slot['slot']} "))
    assert re.match(
        rf"s\d +busy +{slot['pid']} +r-shown +sleeps +\d+ of 300 +\d+% +[\d.]+ MB +\d+$",
        row.rstrip(),
    )


def test_a_supervisor_that_was_killed_is_shown_as_dead_since_when(crewpool, redis_server, world):
    # As a killed supervisor leaves it: listed, without a heartbeat.
    world.client.zadd("crewpool:hosts", {"vm-dead": time.time() - 90})
    world.client.zadd("crewpool:hosts", {"vm-forgotten": time.time() - 100_000})

    shown = crewpool("workers", REDIS_URL=redis_server.url)
    (data,) = json.loads(crewpool("workers", "--json", REDIS_URL=redis_server.url).stdout)

    assert shown.returncode == 0
    assert re.fullmatch(r"vm-dead  dead, last seen 1m 3\ds ago", shown.stdout.strip())
    assert f"No supervisor is alive on {redis_server.url}" in shown.stderr
    assert (data["host"], data["state"], data["workers"]) == ("vm-dead", "dead", [])


@pytest.mark.usefixtures("supervisor")
def test_workers_fits_a_terminal_of_100_columns(crewpool, redis_server, world):
    run_id = "11111111-2222-3333-4444-555555555555"
    world.publish(run_id, "sleeps", {"seconds": 30})
    wait_until(lambda: world.record(run_id).get("state") == "running")

    def drawn():
        return crewpool.on_terminal("workers", REDIS_URL=redis_server.url)[1]

    shown = wait_until(lambda: (d := drawn()) and "11111111-2222" in d and d)

    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).splitlines()
    assert max(map(len, lines)) <= 100
    for heading in ("SLOT", "STATE", "RUN", "PLUGIN", "SECONDS", "CPU", "MEMORY", "RUNS"):
        assert f"{heading}" in shown


def test_plugins_list_tells_settings_and_timeouts(crewpool):
    asked = {"PLUGIN_DIR": ROOT / "plugins", "CREW_TIMEOUT_SECONDS": 7}
    listed = crewpool("plugins", "list", **asked)
    data = json.loads(crewpool("plugins", "list", "--json", **asked).stdout)

    assert listed.returncode == 0
    assert re.search(r"^hello +1\.0 +60s +name ", listed.stdout, re.MULTILINE)
    assert [(p["name"], p["settings"]) for p in data["plugins"]] == [
        ("daily-news-digest", ["topics", "summary_length", "feeds"]),
        ("hello", ["name"]),
    ]
    assert data["broken"] == {}


def test_broken_plugins_are_told_with_the_reason_and_exit_code_1(crewpool):
    folder = DRILLS.with_name("plugins-broken")
    listed = crewpool("plugins", "list", PLUGIN_DIR=folder)
    data = json.loads(crewpool("plugins", "list", "--json", PLUGIN_DIR=folder).stdout)

    assert listed.returncode == 1
    assert "broken-manifest is broken: " in listed.stderr
    assert "broken-schema is broken: " in listed.stderr
    assert "broken-import" in listed.stdout, "nothing is imported, so it looks well"
    assert set(data["broken"]) == {"broken-manifest", "broken-schema"}


def test_a_missing_plugin_folder_is_exit_code_2(crewpool):
    refused = crewpool("plugins", "list", PLUGIN_DIR="nowhere")

    assert refused.returncode == 2
    assert "does not exist" in refused.stderr


def test_config_show_tells_origins_and_hides_passwords(crewpool):
    (crewpool.folder / "crewpool.toml").write_text("workers = 5\n")
    asked = {"REDIS_URL": "redis://me:hidden-word@example.com/0", "CREWPOOL_WROKERS": "1"}

    shown = crewpool("config", "show", **asked)
    rows = json.loads(crewpool("config", "show", "--json", **asked).stdout)

    by_name = {row["name"]: row for row in rows}
    workers = ("workers", "CREWPOOL_WORKERS", "5", "crewpool.toml")
    assert tuple(by_name["workers"].values()) == workers
    assert by_name["redis_url"]["origin"] == "environment"
    assert by_name["drain_s"]["origin"] == "default"
    assert "***" in by_name["redis_url"]["value"]
    assert "hidden-word" not in shown.stdout + shown.stderr + json.dumps(rows)
    assert re.search(r"^workers +CREWPOOL_WORKERS +crewpool\.toml +5$", shown.stdout, re.MULTILINE)
    assert "CREWPOOL_WROKERS is set, and is no setting" in shown.stderr


def test_there_is_colour_on_a_terminal_and_none_with_no_color(crewpool):
    asked = ("plugins", "list")
    broken = {"PLUGIN_DIR": str(DRILLS.with_name("plugins-broken"))}

    _, coloured = crewpool.on_terminal(*asked, **broken)
    _, plain = crewpool.on_terminal(*asked, NO_COLOR="1", **broken)

    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)


@pytest.mark.parametrize("command", ["workers", "plugins list", "config show"])
def test_off_a_terminal_nothing_is_coloured_or_folded(crewpool, redis_server, command):
    url = redis_server.url
    listed = crewpool(*command.split(), REDIS_URL=url, CREWPOOL_WORKER_ENV="X" * 300)

    assert "\x1b" not in listed.stdout + listed.stderr
    if command == "config show":
        assert "X" * 300 in listed.stdout
