"""What a crew can see and touch: nothing of Redis, of us, or of another plugin (promise P5)."""

import os
import subprocess

import pytest

from tests.support.linux import is_alive, kill, signals_of
from tests.support.plugins import write_crew, write_plugin
from tests.support.redis_world import RedisWorld
from tests.support.waiting import wait_until
from tests.support.yard import Yard

HOSTILE_ENVIRONMENT = {
    "REDIS_PASSWORD": "hidden",
    "APP_DATABASE_URL": "postgres://hidden",
    "CREWPOOL_LOG_LEVEL": "INFO",
    "OPENAI_API_KEY": "sk-wanted-by-crews",
    "SECRET_OF_THE_APPLICATION": "hidden",
}


@pytest.fixture(scope="module")
def seen(any_server, tmp_path_factory):
    """What the drill `sees` found, four times on two workers."""
    any_server.empty()
    world = RedisWorld(any_server.client)
    with Yard(tmp_path_factory.mktemp("seen")) as yard:
        also_redis = any_server.url  # the same address under a name of the application's
        supervisor = yard.start(any_server.url, OPENAI_BASE_URL=also_redis, **HOSTILE_ENVIRONMENT)
        for n in range(4):
            world.publish(f"r-{n}", "sees")
        wait_until(lambda: world.have_results([f"r-{n}" for n in range(4)]))
        return [world.output(f"r-{n}") | {"supervisor": supervisor.pid} for n in range(4)]


def test_redis_is_nowhere_in_the_workers_environment(seen):
    for facts in seen:
        assert not [name for name in facts["environment"] if "REDIS" in name]
        assert not facts["redis_url_in_environ"]
        assert facts["redis_url_in_own_proc"] == "no"


def test_nor_can_it_be_read_from_the_supervisors(seen):
    for facts in seen:
        assert facts["ppid"] == facts["supervisor"]
        assert facts["redis_url_in_parent_proc"] != "yes"


def test_a_worker_has_no_redis_client(seen):
    assert not any(facts["redis_imported"] for facts in seen)


def test_only_what_crews_need_is_passed_on(seen):
    for facts in seen:
        assert "OPENAI_API_KEY" in facts["environment"]
        assert "PATH" in facts["environment"]
        for name in ("APP_DATABASE_URL", "SECRET_OF_THE_APPLICATION", "OPENAI_BASE_URL"):
            assert name not in facts["environment"]


def test_our_own_settings_are_not_passed_on(seen):
    for facts in seen:
        ours = [name for name in facts["environment"] if name.startswith("CREWPOOL_")]
        assert ours == ["CREWPOOL_TREE"]


def test_a_worker_has_its_line_and_nothing_else_open(seen):
    for facts in seen:
        fds = facts["fds"]
        assert fds.pop("0") == "/dev/null" == facts["stdin"]
        assert fds.pop("1") == fds.pop("2")
        assert [kind.split(":")[0] for kind in fds.values()] in (["socket"], ["socket", "/proc"])


def test_a_worker_leads_a_session_of_its_own(seen):
    for facts in seen:
        assert facts["pid"] == facts["sid"] == facts["pgid"]


def test_a_worker_has_one_thread_and_the_usual_signals(seen):
    kept = {
        # Writing to a supervisor that is gone is an error to handle, not a death.
        "SIGPIPE": "ignored",
        # And so is writing beyond the largest size of a file.
        "SIGXFSZ": "ignored",
        # faulthandler: stacks when asked, and when the process crashes.
        "SIGUSR1": "caught",
        **dict.fromkeys(("SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"), "caught"),
    }
    for facts in seen:
        assert facts["threads"] == 1
        assert {n: how for n, how in facts["signals"].items() if how != "default"} == kept


def test_workers_draw_different_numbers(seen):
    assert len({facts["random"] for facts in seen}) == len(seen)


def test_workers_draw_different_numbers_from_numpy_too(start_supervisor, world, tmp_path):
    """Its generator is copied by a fork as it is (trap O10)."""
    plugins = write_crew(tmp_path, "draws", "import numpy; return str(numpy.random.random())")
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_PRELOAD="numpy.random").wait_idle()
    drawn = set()
    for n in range(3):
        drawn.add(world.output(_answered(world, "draws"))["raw"])
        assert len(drawn) == n + 1
        # Both of them: one that is just being replaced would be missing in the count.
        for pid in supervisor.wait_idle().worker_pids().values():
            kill(pid)
        wait_until(lambda n=n: len(supervisor.log_lines("worker_died")) == 2 * (n + 1))


def _answered(world, plugin):
    run = world.publish(plugin=plugin)
    wait_until(lambda: world.result(run))
    return run


def test_each_slot_has_a_folder_of_its_own(seen):
    by_pid = {facts["pid"]: facts["storage_dir"] for facts in seen}

    slots = {pid: storage.split("/")[-3] for pid, storage in by_pid.items()}
    assert sorted(slots.values()) == ["s0", "s1"]


def test_each_run_has_folders_of_its_own(seen):
    assert len({facts["storage_dir"] for facts in seen}) == len(seen)
    for facts in seen:
        run = facts["storage_dir"].removesuffix("/storage")
        assert facts["cwd"] == facts["tmpdir"] == f"{run}/tmp"


def test_drills_run_without_crewai(seen):
    assert not any(facts["crewai_imported"] for facts in seen)


def test_two_plugins_with_modules_of_the_same_names_do_not_meet(start_supervisor, world):
    start_supervisor(CREWPOOL_WORKERS=1)
    runs = [(name, world.publish(plugin=f"crew-{name}")) for name in ("twin-a", "twin-b") * 3]

    wait_until(lambda: world.have_results([run for _, run in runs]))

    for name, run in runs:
        assert world.output(run)["raw"] == f"absolute={name} relative={name} late={name}"


def test_what_a_plugin_does_to_the_module_path_is_for_itself(start_supervisor, world, tmp_path):
    plugins = tmp_path / "plugins"
    for name in ("one", "two"):
        write_plugin(
            plugins,
            name,
            """
            import sys
            from pathlib import Path
            VENDORED = str(Path(__file__).parents[1] / "vendored")
            sys.path.insert(1, VENDORED) if VENDORED.split("/")[-2] == "one" else None
            class Crew:
                def kickoff(self, inputs):
                    import helping
                    return helping.NAME
            def create_crew(settings):
                return Crew()
            """,
        )
        (plugins / name / "vendored").mkdir()
        (plugins / name / "vendored" / "helping.py").write_text(f"NAME = {name!r}")
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    one, two = world.publish(plugin="one"), world.publish(plugin="two")

    wait_until(lambda: world.have_results([one, two]))

    assert world.output(one)["raw"] == "one"
    assert "No module named 'helping'" in world.result(two)["error"]


def test_a_dotenv_file_of_the_application_is_not_read(start_supervisor, world, tmp_path):
    """crewai calls load_dotenv() at its import; so does a plugin here, in the same places."""
    plugins = write_plugin(
        tmp_path / "plugins",
        "dotenv",
        """
        import os
        import dotenv
        dotenv.load_dotenv()
        class Crew:
            def kickoff(self, inputs):
                dotenv.load_dotenv()
                dotenv.load_dotenv(dotenv.find_dotenv(usecwd=True))
                return str(sorted(os.environ))
        def create_crew(settings):
            return Crew()
        """,
    )
    for folder in (tmp_path, plugins, plugins / "dotenv"):
        (folder / ".env").write_text("REDIS_URL=redis://from-dotenv\nFROM_DOTENV=1\n")
    start_supervisor(plugin_dir=plugins)
    run = world.publish(plugin="dotenv")

    wait_until(lambda: world.result(run))

    assert "DOTENV" not in world.output(run)["raw"].replace("PYTHON_DOTENV_DISABLED", "")
    assert "REDIS" not in world.output(run)["raw"]


@pytest.mark.usefixtures("supervisor")
def test_a_crew_that_asks_its_terminal_fails_at_once_and_says_why(world):
    run = world.publish(plugin="asks")

    result = wait_until(lambda: world.result(run), 5)

    assert result["status"] == "failed"
    assert "standard input" in result["error"]
    assert result["meta"]["duration_s"] < 1


def test_what_one_run_changes_in_its_environment_is_not_worse_than_its_worker(
    start_supervisor, world, tmp_path
):
    """The folder that a crew went away from and removed is no harm to the next run."""
    plugins = write_crew(
        tmp_path / "plugins",
        "wrecks",
        "import shutil; here = os.getcwd(); os.chdir('/'); shutil.rmtree(here); return 'x'",
    )
    write_crew(plugins, "next", "return 'well'")
    start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1)
    runs = [world.publish(plugin="wrecks"), world.publish(plugin="next")]

    wait_until(lambda: world.have_results(runs))

    assert world.result(runs[1])["status"] == "completed"


def test_children_of_a_crew_do_not_inherit_its_line(start_supervisor, world, tmp_path):
    plugins = write_crew(
        tmp_path / "plugins",
        "starts",
        "return subprocess.run(['ls', '-l', '/proc/self/fd'], stdout=-1, close_fds=False, "
        "text=True).stdout",
    )
    start_supervisor(plugin_dir=plugins)
    run = world.publish(plugin="starts")

    wait_until(lambda: world.result(run))

    assert "socket:" not in world.output(run)["raw"]


def test_a_storm_of_signals_from_a_terminal_does_not_reach_the_workers(supervisor):
    """Ctrl-C in a terminal goes to the whole foreground group: it is the supervisor's to act."""
    supervisor.wait_idle()
    groups = {os.getpgid(process.pid) for process in supervisor.workers().values()}

    assert os.getpgid(supervisor.pid) not in groups
    assert os.getpgid(supervisor.zygote().pid) != os.getpgid(supervisor.pid)
    assert signals_of(supervisor.pid)["caught"] >= {1, 2, 3, 15}


def test_the_supervisor_leaves_programs_that_are_not_its_own_alone(supervisor):
    """Only what descends from its workers is a stray."""
    supervisor.wait_idle()
    with subprocess.Popen(["sleep", "60"]) as mine:
        kill(supervisor.worker_pids()[0])
        wait_until(lambda: supervisor.log_lines("worker_died"))
        supervisor.wait_idle()
        assert is_alive(mine.pid)
        mine.kill()
