"""What a crew leaves behind, and what comes while the supervisor runs."""

from tests.support.linux import is_alive, pid_in
from tests.support.plugins import write_crew
from tests.support.waiting import wait_until


def test_a_daemon_goes_with_its_worker_when_the_run_is_over(supervisor, world, tmp_path):
    supervisor.wait_idle()
    before = supervisor.workers()
    file = tmp_path / "daemon.pid"

    run = world.publish(plugin="forks", settings={"pid_file": str(file), "then": "return"})

    assert wait_until(lambda: world.result(run))["status"] == "completed"
    daemon = pid_in(file)
    wait_until(lambda: not is_alive(daemon))
    # One worker went with it, and its slot has a new one.
    wait_until(lambda: len(supervisor.workers()) == len(before))
    assert supervisor.log_lines("worker_recycled", because="left_processes")


def test_a_run_that_leaves_nothing_keeps_its_worker(supervisor, world):
    supervisor.wait_idle()
    before = supervisor.workers()

    runs = [world.publish(plugin="echoes") for _ in range(6)]

    wait_until(lambda: world.have_results(runs))
    assert supervisor.workers() == before


def test_children_that_print_for_ever_do_not_hold_the_loop(start_supervisor, world, tmp_path):
    plugins = write_crew(
        tmp_path,
        "shouts",
        """
        for _ in range(2):
            if os.fork() == 0:
                while True:
                    os.write(1, b"\\n" * 65536)
        time.sleep(0.3)
        os._exit(1)
        """,
    )
    write_crew(plugins, "quick", 'return "here"')
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=2)
    world.publish(plugin="shouts")
    wait_until(lambda: supervisor.busy("shouts"))

    runs = [world.publish(plugin="quick") for _ in range(20)]

    wait_until(lambda: world.have_results(runs), 3)


def test_a_plugin_that_is_newer_than_the_supervisor_runs_without_a_reload(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path, "old", 'return "old"')
    start_supervisor(plugin_dir=plugins).wait_idle()
    write_crew(plugins, "fresh", 'return "fresh"')

    run = world.publish(plugin="fresh")

    assert wait_until(lambda: world.result(run))["status"] == "completed"
    assert world.output(run)["summary"] == "fresh"


def test_what_a_crew_does_to_its_process_does_not_reach_the_next_run(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(
        tmp_path,
        "leaves",
        """
        os.environ["OPENAI_API_KEY"] = settings["_llm_api_key"]
        os.environ.pop("HOME", None)
        os.chdir("/")
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.alarm(1)
        return "left"
        """,
    )
    write_crew(
        plugins,
        "looks",
        """
        time.sleep(1.5)
        home = "HOME" in os.environ
        return f"{os.environ.get('OPENAI_API_KEY')} {os.getcwd() == '/'} {home}"
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)
    before = supervisor.workers()
    first = world.publish(plugin="leaves", settings={"_llm_api_key": "sk-of-user-a-123"})
    wait_until(lambda: world.result(first))

    second = world.publish(plugin="looks")

    assert wait_until(lambda: world.result(second))["status"] == "completed"
    assert world.output(second)["summary"] == "None False True"
    assert supervisor.workers() == before


def test_an_error_that_cannot_even_be_formatted_is_a_failed_run(start_supervisor, world, tmp_path):
    code = 'raise SyntaxError("x", ("f", object(), object(), object()))'
    plugins = write_crew(tmp_path, "odd", code)
    start_supervisor(plugin_dir=plugins).wait_idle()

    run = world.publish(plugin="odd")

    assert "SyntaxError" in wait_until(lambda: world.result(run))["error"]
    assert world.result(run)["meta"]["attempt"] == 1
