"""What crews leave in their workers is told, and which workers are replaced for it, or for age."""

import os
import signal

from tests.support.linux import is_alive, living_below, title_of
from tests.support.plugins import write_crew
from tests.support.waiting import wait_until

PID = "return str(os.getpid())"


def idle_pids(supervisor):
    return {p.pid for p in living_below(supervisor.pid) if title_of(p) == "crewpool s0 idle"}


def pids(world, runs):
    return [int(world.output(run)["summary"]) for run in runs]


def test_a_worker_with_threads_of_a_crew_begins_no_other_run(start_supervisor, world):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1).wait_idle(1)
    (before,) = supervisor.worker_pids().values()

    run = world.publish(plugin="leaks-threads", settings={"threads": 2})
    after = world.publish(plugin="echoes")

    wait_until(lambda: world.have_results([run, after]))
    (told,) = supervisor.log_lines("crew_left", run=run)
    assert (told["plugin"], told["threads"]) == ("leaks-threads", "leak-0, leak-1")
    wait_until(lambda: supervisor.log_lines("worker_recycled", because="left_threads"))
    assert not is_alive(before)
    assert (
        supervisor.metric("crewpool_left_behind_total", plugin="leaks-threads", kind="threads") == 2
    )
    assert supervisor.metric("crewpool_recycled_total", because="left_threads") == 1
    assert not supervisor.log_lines("crew_left", run=after)


def test_a_crew_that_hides_what_it_left_from_its_worker_is_caught_from_outside(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(
        tmp_path,
        "hides",
        """
        from worker.crew import audit
        if settings["what"] == "thread":
            threading.Thread(target=threading.Event().wait, daemon=True).start()
            threading.enumerate = lambda: [threading.main_thread()]
            threading._active.clear()
            audit.frames_by_thread = lambda: {threading.get_ident(): None}
            audit._entries = lambda folder: ["1"] if folder.endswith("task") else []
            return str(os.getpid())
        child = subprocess.Popen(["sleep", "600"])
        audit._has_children = lambda: False
        return str(child.pid)
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)

    runs = []
    for what in ("thread", "child"):
        runs.append(world.publish(plugin="hides", settings={"what": what}))
        wait_until(lambda: world.result(runs[-1]))

    worker, child = pids(world, runs)
    for because in ("left_threads", "left_processes"):
        wait_until(lambda why=because: supervisor.log_lines("worker_recycled", because=why))
    assert not is_alive(worker)
    wait_until(lambda: not is_alive(child))
    assert supervisor.log_lines("crew_left", run=runs[0])[0]["threads"] == "(not told)"
    assert supervisor.log_lines("crew_left", run=runs[1])[0]["children"] == f"{child} (not told)"


def test_sockets_and_files_that_stay_open_are_told_and_too_many_end_the_worker(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(
        tmp_path,
        "keeps-open",
        """
        kept = sys.__dict__.setdefault("kept", [])
        server = socket.create_server(("127.0.0.1", 0))
        kept += [server, *(socket.create_connection(server.getsockname()) for _ in range(19))]
        kept += [open("/etc/hostname") for _ in range(settings["files"])]
        return str(os.getpid())
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)

    runs = []
    for files in (5, 200, 0):
        runs.append(world.publish(plugin="keeps-open", settings={"files": files}))
        wait_until(lambda: world.result(runs[-1]))

    first, second, third = pids(world, runs)
    assert first == second != third
    (told,) = supervisor.log_lines("crew_left", run=runs[0])
    assert told["open"].startswith("19 socket to 127.0.0.1:")
    assert told["open"].endswith(", 5 file, 1 socket")
    wait_until(lambda: supervisor.log_lines("worker_recycled", because="left_descriptors"))
    for kind, count in (("sockets", 60), ("files", 205)):
        told = supervisor.metric("crewpool_left_behind_total", plugin="keeps-open", kind=kind)
        assert told == count


def test_threads_and_children_that_end_in_a_moment_are_not_left(start_supervisor, world, tmp_path):
    plugins = write_crew(
        tmp_path,
        "ends-soon",
        """
        threading.Thread(target=time.sleep, args=(0.005,)).start()
        subprocess.Popen(["true"])
        return str(os.getpid())
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)

    runs = [world.publish(plugin="ends-soon") for _ in range(3)]

    wait_until(lambda: world.have_results(runs))
    assert len(set(pids(world, runs))) == 1
    assert not supervisor.log_lines("crew_left")


def test_a_credential_in_a_threads_name_is_not_told(start_supervisor, world, tmp_path):
    plugins = write_crew(
        tmp_path,
        "names",
        """
        name = "calls\\n\\x1b[2J " + settings["_llm_api_key"]
        threading.Thread(target=threading.Event().wait, daemon=True, name=name).start()
        return "named"
        """,
    )
    supervisor = start_supervisor(plugin_dir=plugins).wait_idle()

    run = world.publish(plugin="names", settings={"_llm_api_key": "sk-of-user-a-123"})

    (told,) = wait_until(lambda: supervisor.log_lines("crew_left", run=run))
    assert "***" in told["threads"]
    assert "sk-of-user" not in supervisor.log()
    assert "\x1b" not in supervisor.log()


def test_one_run_a_worker_gives_each_run_a_process_of_its_own(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path, "tells", PID)
    supervisor = start_supervisor(
        plugin_dir=plugins, CREWPOOL_WORKERS=2, CREWPOOL_MAX_RUNS_PER_WORKER=1
    ).wait_idle()

    runs = [world.publish(plugin="tells") for _ in range(20)]

    wait_until(lambda: world.have_results(runs))
    assert len(set(pids(world, runs))) == 20
    wait_until(lambda: supervisor.metric("crewpool_recycled_total", because="max_runs") == 20)
    supervisor.wait_idle()
    assert not supervisor.log_lines("worker_died")


def test_eight_slots_that_recycle_under_load_lose_no_run(start_supervisor, world, tmp_path):
    plugins = write_crew(tmp_path, "tells", PID)
    supervisor = start_supervisor(
        plugin_dir=plugins, CREWPOOL_WORKERS=8, CREWPOOL_MAX_RUNS_PER_WORKER=3
    ).wait_idle(8)

    runs = [world.publish(plugin="tells") for _ in range(120)]

    wait_until(lambda: world.have_results(runs), 40)
    told = [world.result(run) for run in runs]
    assert {one["status"] for one in told} == {"completed"}
    assert {one["meta"]["attempt"] for one in told} == {1}
    assert len(set(pids(world, runs))) >= 120 // 4
    supervisor.wait_idle(8)


def test_a_worker_that_grew_old_is_replaced_when_it_is_idle_and_once(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path, "tells", PID)
    supervisor = start_supervisor(
        plugin_dir=plugins, CREWPOOL_WORKERS=2, CREWPOOL_MAX_WORKER_AGE_S=1
    ).wait_idle()
    before = set(supervisor.worker_pids().values())

    run = world.publish(plugin="tells")
    wait_until(lambda: world.result(run))

    # The one that ran; the other is as good as new.
    ran = set(pids(world, [run]))
    wait_until(lambda: supervisor.log_lines("worker_recycled", because="max_age"))
    supervisor.wait_idle()
    assert set(supervisor.worker_pids().values()) & before == before - ran


def test_a_worker_that_is_larger_than_it_may_be_is_replaced_after_its_run(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(
        tmp_path,
        "grows",
        """
        sys.__dict__.setdefault("kept", []).append(b"x" * (settings["mib"] << 20))
        return str(os.getpid())
        """,
        manifest="memory_soft: 200 MiB\n",
    )
    supervisor = start_supervisor(plugin_dir=plugins, CREWPOOL_WORKERS=1).wait_idle(1)

    runs = []
    for mib in (1, 300, 1):
        runs.append(world.publish(plugin="grows", settings={"mib": mib}))
        wait_until(lambda: world.result(runs[-1]))

    first, second, third = pids(world, runs)
    assert first == second != third
    assert {world.result(run)["status"] for run in runs} == {"completed"}
    wait_until(lambda: supervisor.log_lines("worker_recycled", because="memory_soft"))


def test_the_next_worker_has_booted_when_the_last_run_of_one_ends(
    start_supervisor, world, tmp_path
):
    plugins = write_crew(tmp_path, "waits", "time.sleep(1)\nreturn str(os.getpid())")
    supervisor = start_supervisor(
        plugin_dir=plugins, CREWPOOL_WORKERS=1, CREWPOOL_MAX_RUNS_PER_WORKER=1
    ).wait_idle(1)
    first = world.publish(plugin="waits")
    busy = wait_until(lambda: supervisor.busy("waits"))

    successor = wait_until(lambda: idle_pids(supervisor) - {busy})
    second = world.publish(plugin="waits")

    wait_until(lambda: world.have_results([first, second]))
    assert pids(world, [first, second]) == [busy, *successor]


def test_a_successor_takes_over_from_a_worker_that_was_killed_and_goes_with_a_drain(
    start_supervisor, world
):
    supervisor = start_supervisor(CREWPOOL_WORKERS=1, CREWPOOL_MAX_RUNS_PER_WORKER=1).wait_idle(1)
    world.publish(plugin="sleeps")
    busy = wait_until(lambda: supervisor.busy("sleeps"))
    (successor,) = wait_until(lambda: idle_pids(supervisor) - {busy})

    os.kill(busy, signal.SIGKILL)

    wait_until(lambda: supervisor.busy("sleeps") == successor)
    wait_until(lambda: idle_pids(supervisor) - {busy, successor})
    supervisor.signal(signal.SIGINT)
    assert supervisor.wait_exit(5) == 4
    assert not is_alive(successor)


def test_what_a_killed_run_left_on_disk_goes_although_its_successor_had_booted(
    start_supervisor, world, tmp_path
):
    code = 'open(os.environ["TMPDIR"] + "/left", "w"); time.sleep(settings["seconds"])'
    plugins = write_crew(tmp_path, "writes", f'{code}; return "done"')
    supervisor = start_supervisor(
        plugin_dir=plugins,
        CREWPOOL_WORKERS=1,
        CREWPOOL_MAX_RUNS_PER_WORKER=1,
        CREW_TIMEOUT_SECONDS=2,
    ).wait_idle(1)
    first = world.publish(plugin="writes", settings={"seconds": 60})
    busy = wait_until(lambda: supervisor.busy("writes"))
    wait_until(lambda: idle_pids(supervisor) - {busy})
    storage = supervisor.folder / "storage"
    # Tidying up at its boot, it leaves alone what belongs to the run that is on.
    assert list(storage.rglob("left"))
    wait_until(lambda: world.result(first))

    second = world.publish(plugin="writes", settings={"seconds": 0})

    assert wait_until(lambda: world.result(second))["status"] == "completed"
    wait_until(lambda: not list(storage.rglob("left")))
