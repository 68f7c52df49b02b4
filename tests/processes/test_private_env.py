"""What one plugin alone may see: its `env:`, from variables and from files."""

import json

import pytest

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

SECRET = "tk-0123456789-of-the-wiki"
LOOKS = """
# Searched for in another alphabet, for the text itself must not get into this process.
alphabet = bytes((n + 1) % 256 for n in range(256))
wanted, found = bytes.fromhex(settings["wanted"]), 0
with open("/proc/self/mem", "rb", 0) as memory:
    for line in open("/proc/self/maps").read().splitlines():
        place, mode = line.split()[:2]
        if "r" not in mode or "[v" in line:
            continue
        begin, end = (int(part, 16) for part in place.split("-"))
        while begin < end:
            try:
                memory.seek(begin)
                data = memory.read(min(end - begin, 1 << 22))
            except OSError:
                break
            found += data.translate(alphabet).count(wanted)
            begin += len(data) or end
return json.dumps({
    "variable": os.environ.get("WIKI_TOKEN"),
    "in_proc": b"WIKI_TOKEN" in open("/proc/self/environ", "rb").read(),
    "in_memory": bool(found),
    "pid": os.getpid(),
})
"""
WANTED = bytes((n + 1) % 256 for n in SECRET.encode()).hex()
PRIVATE = "env: [WIKI_TOKEN, NOT_SET]\n"


@pytest.fixture
def plugins(tmp_path):
    folder = tmp_path / "plugins"
    write_crew(folder, "wiki", LOOKS, manifest=PRIVATE)
    write_crew(folder, "other", LOOKS)
    tells = "print('is', os.environ['WIKI_TOKEN']); sys.stdout.flush(); "
    write_crew(
        folder, "tells", f"{tells}raise ValueError(os.environ['WIKI_TOKEN'])", manifest=PRIVATE
    )
    write_crew(folder, "needs", "return os.environ['WIKI_TOKEN'][::-1]", manifest=PRIVATE)
    return folder


def ended(world, plugin):
    run = world.publish(plugin=plugin, settings={"wanted": WANTED})
    wait_until(lambda: world.result(run))
    return world.result(run)


def seen(world, plugin):
    result = ended(world, plugin)
    assert result["status"] == "completed", result
    return json.loads(json.loads(result["output"])["raw"])


def test_only_the_plugin_that_names_it_sees_a_variable(start_supervisor, world, plugins):
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1, WIKI_TOKEN=SECRET)
    pids = []

    for _ in range(2):
        mine, theirs = seen(world, "wiki"), seen(world, "other")

        # Masked on its way out, as any credential.
        assert mine == mine | {"variable": "***", "in_memory": True, "in_proc": False}
        assert theirs == theirs | {"variable": None, "in_memory": False, "in_proc": False}
        pids += [mine["pid"], theirs["pid"]]

    assert len(set(pids)) == 4


def test_runs_of_one_plugin_with_secrets_share_a_worker(start_supervisor, world, plugins):
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1, WIKI_TOKEN=SECRET)

    assert seen(world, "wiki")["pid"] == seen(world, "wiki")["pid"]
    assert supervisor.log_lines("worker_recycled") == []

    seen(world, "other")

    (told,) = supervisor.log_lines("worker_recycled")
    assert told["because"] == "another_plugin"


def test_what_a_crew_says_of_its_secrets_is_masked_everywhere(start_supervisor, world, plugins):
    supervisor = start_supervisor(plugin_dir=plugins, WIKI_TOKEN=SECRET)

    result = ended(world, "tells")

    wait_until(lambda: supervisor.log_lines("crew_said"))
    (letter,) = world.dead_letters()
    assert "***" in result["error"]
    assert "***" in supervisor.log_lines("crew_said")[0]["line"]
    assert "***" in letter["stack"]
    everything = supervisor.log() + repr(world.results()) + repr(letter)
    everything += repr([world.client.hgetall(key) for key in world.client.keys("*run:*")])
    assert SECRET not in everything


def test_a_crew_starts_without_what_is_not_set(start_supervisor, world, plugins):
    start_supervisor(plugin_dir=plugins)

    assert seen(world, "wiki")["variable"] is None


def test_a_secret_from_a_file_is_read_anew_for_each_run(start_supervisor, world, plugins, tmp_path):
    file = tmp_path / "token"
    file.write_text("first-secret\n")
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1, WIKI_TOKEN_FILE=file)
    assert "terces-tsrif" in ended(world, "needs")["output"]

    # As Kubernetes does it: another file in its place.
    (tmp_path / "new").write_text("second-secret")
    (tmp_path / "new").rename(file)

    assert "terces-dnoces" in ended(world, "needs")["output"]


def test_a_secret_that_cannot_be_read_fails_the_run_with_the_name_of_the_variable(
    start_supervisor, world, plugins, tmp_path
):
    supervisor = start_supervisor(plugin_dir=plugins, WIKI_TOKEN_FILE=tmp_path)

    result = ended(world, "needs")

    assert result["status"] == "failed"
    assert "WIKI_TOKEN_FILE" in result["error"]
    assert "no file" in result["error"]
    (told,) = supervisor.log_lines("secret_unreadable")
    assert told["variable"] == "WIKI_TOKEN_FILE"
    assert seen(world, "other")["variable"] is None


def test_the_path_of_a_secret_for_all_is_not_passed_on(start_supervisor, world, tmp_path):
    (tmp_path / "key").write_text("sk-from-a-file")
    plugins = write_crew(
        tmp_path / "plugins",
        "keys",
        "return json.dumps({n: v[::-1] for n, v in os.environ.items() if 'OPENAI' in n})",
    )
    start_supervisor(plugin_dir=plugins, OPENAI_API_KEY_FILE=tmp_path / "key")

    assert seen(world, "keys") == {"OPENAI_API_KEY": "elif-a-morf-ks"}


def test_a_secret_for_all_that_cannot_be_read_is_refused_at_the_start(start_supervisor, tmp_path):
    supervisor = start_supervisor(wait=False, OPENAI_API_KEY_FILE=tmp_path / "none")

    assert supervisor.wait_exit() == 2

    assert "OPENAI_API_KEY_FILE" in supervisor.log()


IS_OPEN = "import ctypes; return str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"


@pytest.mark.parametrize(("manifest", "is_open"), [(PRIVATE, "0"), ("", "1")])
def test_where_a_plugin_has_secrets_no_worker_can_be_looked_into(
    start_supervisor, world, tmp_path, manifest, is_open
):
    """Not even before one of them has any: a descriptor that was opened stays open."""
    folder = tmp_path / "plugins"
    write_crew(folder, "asks", IS_OPEN)
    write_crew(folder, "other", "return ''", manifest=manifest)
    start_supervisor(plugin_dir=folder)
    run = world.publish(plugin="asks")

    wait_until(lambda: world.result(run))
    assert world.output(run)["raw"] == is_open
