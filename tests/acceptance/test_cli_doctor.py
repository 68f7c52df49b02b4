"""`crewpool doctor`: every problem at once, each with its cure."""

import json
import os
import socket
from contextlib import closing

import psutil
import pytest

from supervisor.cli import preflight
from supervisor.configuration import load
from tests.acceptance.conftest import NOWHERE, permit
from tests.support.linux import living_below, title_of
from tests.support.plugins import write_crew, write_plugin
from tests.support.supervisors import DRILLS, ROOT

BROKEN = DRILLS.with_name("plugins-broken")


def problems(asked, level="problem"):
    """Return what was found, by topic."""
    findings = json.loads(asked.stdout)["findings"]
    return {(f["topic"], f["said"]): f["cure"] for f in findings if f["level"] == level}


def said_of(topic, found):
    return " ".join(said for about, said in found if about == topic)


def test_a_machine_on_which_all_is_well_is_exit_code_0(crewpool, own_server):
    examined = crewpool(
        "doctor",
        REDIS_URL=own_server.url,
        OPENAI_API_KEY="sk-not-used-here",
        CREWPOOL_STORAGE_DIR="/dev/shm",
    )

    assert examined.returncode == 0, examined.stderr
    assert examined.stderr == ""
    assert examined.stdout.endswith("No problem found, no warnings.\n")
    for good in ("all commands are permitted", "maxmemory-policy is noeviction", "one thread"):
        assert good in examined.stdout


def test_all_problems_are_told_at_once_indented_on_stderr_with_their_cures(crewpool):
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        examined = crewpool(
            "doctor",
            REDIS_URL=NOWHERE,
            PLUGIN_DIR=BROKEN,
            CREWPOOL_HTTP_PORT=listening.getsockname()[1],
            CREWPOOL_PRELOAD="no_such_module",
            CREWPOOL_STORAGE_DIR="/dev/shm",
            CREWPOOL_WROKERS=3,
        )

    assert examined.returncode == 1
    for told in (
        "broken-manifest: ",
        "broken-schema: ",
        "cannot listen on port",
        "Redis at 127.0.0.1:1 is not reachable",
        "The zygote cannot start: ModuleNotFoundError: No module named 'no_such_module'",
        "CREWPOOL_WROKERS is set, and nothing reads it",
        "No provider's key is set",
    ):
        assert told in examined.stderr
    lines = examined.stderr.splitlines()
    assert sum(line.startswith("  problem ") for line in lines) == 5
    assert sum(line.strip().startswith("cure ") for line in lines) == 7
    assert "crewpool: 5 problems, 2 warnings." in lines
    assert "problem" not in examined.stdout


def test_the_same_is_told_as_json(crewpool):
    examined = crewpool(
        *("doctor", "--json"),
        REDIS_URL=NOWHERE,
        PLUGIN_DIR=BROKEN,
        CREWPOOL_RECORDS_URL="postgresql://app:hush@127.0.0.1:1/app",
        CREWPOOL_GATEWAY_HOST="0.0.0.0",
    )

    found = problems(examined)
    assert examined.returncode == 1
    assert json.loads(examined.stdout)["ok"] is False
    assert {topic for topic, _ in found} == {"plugins", "redis", "records", "gateway"}
    assert "hush" not in examined.stdout + examined.stderr
    assert all(found.values()), "each has a cure"


def test_wrong_settings_are_told_beside_what_does_not_depend_on_them(crewpool):
    examined = crewpool("doctor", "--json", CREWPOOL_WORKERS=0, CREWPOOL_LEASE_S="soon")

    found = problems(examined)
    assert examined.returncode == 1
    assert {said.partition(":")[0] for _, said in found} == {"CREWPOOL_WORKERS", "CREWPOOL_LEASE_S"}
    assert any(topic == "model" for topic, _ in problems(examined, "warning"))


def test_imports_that_fail_or_start_threads_are_found_by_a_real_zygote(crewpool, own_server):
    before = zygotes()
    examined = crewpool("doctor", "--json", REDIS_URL=own_server.url, PLUGIN_DIR=BROKEN)

    assert "broken-import: its import failed: " in said_of("plugins", problems(examined))
    warnings = problems(examined, "warning")
    assert "threads-at-import is imported anew" in said_of("plugins", warnings)
    assert zygotes() == before
    assert not list(crewpool.tmp.iterdir())


def test_imports_that_end_the_zygote_are_told_by_name(crewpool, own_server, tmp_path):
    plugins = write_plugin(tmp_path / "plugins", "ends", "import os; os._exit(3)")
    write_plugin(plugins, "faults", "import ctypes; ctypes.string_at(0)")
    before = zygotes()

    examined = crewpool(
        "doctor",
        "--json",
        REDIS_URL=own_server.url,
        PLUGIN_DIR=plugins,
        CREWPOOL_PRELOAD="json",
    )

    found = {said: cure for (topic, said), cure in problems(examined).items() if topic == "plugins"}
    assert found == {
        "ends: its import ended the zygote with exit 3": "mend the plugin ends",
        "faults: its import ended the zygote with SIGSEGV": "mend the plugin faults",
    }
    assert "one thread" in examined.stdout, "the others are fine"
    assert zygotes() == before


def test_a_server_that_evicts_and_forgets_is_told(crewpool, own_server):
    own_server.client.config_set("maxmemory-policy", "allkeys-lru")
    own_server.client.config_set("appendonly", "no")

    examined = crewpool("doctor", "--json", REDIS_URL=own_server.url)

    assert "maxmemory-policy is allkeys-lru" in said_of("redis", problems(examined))
    assert "append-only file is off" in said_of("redis", problems(examined, "warning"))


@pytest.mark.parametrize(
    ("user", "may_all"), [("crewpool", True), ("application", False)], ids=["ours", "theirs"]
)
def test_what_the_user_of_the_url_may_not_do_is_told(crewpool, own_server, user, may_all):
    permit(own_server.client, user)
    url = own_server.url.replace("//", f"//{user}:word@")

    before = own_server.client.dbsize()
    examined = crewpool("doctor", "--json", REDIS_URL=url)

    assert said_of("redis", problems(examined)) == "" if may_all else problems(examined)
    assert own_server.client.dbsize() == before, "nothing was written"


def test_a_wrong_password_is_told(crewpool, own_server):
    url = own_server.url.replace("//", "//crewpool:not-the-word@")

    examined = crewpool("doctor", "--json", REDIS_URL=url)

    assert problems(examined)
    assert "not-the-word" not in examined.stdout + examined.stderr


def test_a_config_file_with_a_password_that_everybody_may_read_is_told(crewpool):
    file = crewpool.folder / "crewpool.toml"
    file.write_text('redis_url = "redis://:hidden-word@127.0.0.1:1/0"\n')
    file.chmod(0o644)
    open_to_all = crewpool("doctor", "--json", REDIS_URL=None)
    file.chmod(0o640)
    closed = crewpool("doctor", "--json", REDIS_URL=None)

    assert "holds a password" in said_of("settings", problems(open_to_all, "warning"))
    assert "holds a password" not in said_of("settings", problems(closed, "warning"))
    assert "hidden-word" not in open_to_all.stdout + open_to_all.stderr


def test_a_supervisor_on_the_port_is_good_news(crewpool, redis_server, supervisor):
    port = supervisor.http_address.rpartition(":")[2]

    examined = crewpool("doctor", REDIS_URL=redis_server.url, CREWPOOL_HTTP_PORT=port)

    assert f"a supervisor answers on 127.0.0.1:{port}" in examined.stdout
    assert "supervisors alive here: " in examined.stdout


def test_a_storage_folder_on_a_disk_is_a_warning(crewpool, tmp_path):
    kinds = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    if kinds.get("/tmp") == "tmpfs":
        pytest.skip("the folder of the tests is on tmpfs here")

    examined = crewpool("doctor", "--json", CREWPOOL_STORAGE_DIR=tmp_path)

    assert f"{tmp_path} is on " in said_of("storage", problems(examined, "warning"))


def zygotes():
    """Return the zygotes below us. Orphans come to us, too."""
    return {p.pid for p in living_below(os.getpid()) if "zygote" in title_of(p)}


def test_the_users_file_of_the_deployment_is_where_the_cure_says():
    assert (ROOT / "deploy" / "redis" / "users.acl").is_file()


def test_limits_of_memory_below_the_size_of_a_worker_are_told(crewpool, own_server, tmp_path):
    plugins = write_crew(tmp_path / "plugins", "small", "return 'x'", manifest="memory_hard: 9MiB")

    examined = crewpool(
        "doctor",
        "--json",
        REDIS_URL=own_server.url,
        PLUGIN_DIR=plugins,
        CREWPOOL_MEMORY_HARD="8MiB",
    )

    found = problems(examined)
    told = "small: plugin.yaml: line 2: memory_hard (9.0 MiB) is below the "
    assert said_of("plugins", found).startswith(told)
    assert said_of("memory", found).startswith("CREWPOOL_MEMORY_HARD: 8.0 MiB is below the ")
    assert set(found.values()) == {f"mend {plugins / 'small'}", "allow more, or leave it out"}


def test_a_user_for_workers_that_does_not_exist_is_told_by_doctor_and_refused_by_run(crewpool):
    examined = crewpool("doctor", "--json", CREWPOOL_WORKER_USER="nobodyknows")
    refused = crewpool("run", CREWPOOL_WORKER_USER="nobodyknows")

    told = "CREWPOOL_WORKER_USER: There is no user 'nobodyknows' on this machine"
    assert said_of("user", problems(examined)) == told
    assert refused.returncode == 2
    assert told in refused.stderr


def test_a_supervisor_that_may_not_become_another_user_says_what_it_lacks(monkeypatch):
    monkeypatch.setenv("CREWPOOL_WORKER_USER", "65534")
    monkeypatch.setattr(preflight, "missing_capabilities", lambda _status: ["CAP_SETUID"])

    trouble = preflight.worker_user_trouble(load())

    assert "it lacks CAP_SETUID" in trouble.said
    assert "start it as root" in trouble.cure


def test_secrets_that_a_plugin_names_and_would_not_get_are_told(crewpool, tmp_path):
    plugins = tmp_path / "plugins"
    write_crew(plugins, "wiki", "return 'x'", manifest="env: [WIKI_TOKEN, MAIL_TOKEN, SET]\n")

    examined = crewpool(
        "doctor", "--json", PLUGIN_DIR=plugins, SET="x", MAIL_TOKEN_FILE=tmp_path / "none"
    )

    assert "wiki wants WIKI_TOKEN, which is not set" in said_of(
        "secrets", problems(examined, "warning")
    )
    said = "wiki: The file that MAIL_TOKEN_FILE names cannot be read: No such file or directory"
    assert said_of("secrets", problems(examined)) == said
