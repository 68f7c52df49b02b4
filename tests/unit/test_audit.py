"""What a worker finds that a crew left, each time in a process of its own."""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

from supervisor.embedded.offline_model import OfflineModel
from worker.crew.audit import GRACE_S, SLACK_FDS, STANDING
from worker.protocol import LONGEST_NAME, MOST_NAMES

BEFORE = """
import json, os, socket, subprocess, sys, threading, time
from worker.crew.audit import Audit

forever = threading.Event().wait
def start(name):
    threading.Thread(target=forever, name=name, daemon=True).start()
def look(mask=str):
    print("LEFT" + audit.after(mask).model_dump_json())
audit = Audit()
"""
# The environment a worker has; see worker/crew/lockdown.py.
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "OPENBLAS_NUM_THREADS": "1",
}


def looks(code, folder=None, **environment):
    """Return what was found at each look()."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + dedent(code) + "\nsys.stdout.flush()\nos._exit(0)"],
        env=os.environ | environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [line.partition("LEFT")[2] for line in done.stdout.splitlines() if "LEFT" in line]
    return [json.loads(text) for text in found]


def test_who_left_nothing_has_nothing():
    (left,) = looks("look()")

    assert left.pop("rss_bytes") < 4 << 20
    assert not any(left.values())


def test_threads_are_told_by_name_also_those_that_have_none():
    (left,) = looks("""
    import _thread
    start("leak-1")
    _thread.start_new_thread(forever, ())
    look()
    """)

    assert left["threads"] == ["(no name)", "leak-1"]
    assert left["standing"] == 0


def test_patching_the_library_hides_no_thread():
    (left,) = looks("""
    start("leak")
    threading.enumerate = lambda: []
    threading._active.clear()
    sys._current_frames = lambda: {}
    os.listdir = lambda folder: []
    look()
    """)

    assert left["threads"] == ["(no name)"]


@pytest.mark.parametrize("kind", STANDING)
def test_what_libraries_keep_stands_up_to_their_number(kind):
    most = STANDING[kind]
    first, second = looks(f"""
    names = ["{kind}_%d" % n for n in range({most})]
    for name in names: start(name)
    look()
    start("{kind}_{most}")
    look()
    """)

    assert (first["threads"], first["standing"]) == ([], most)
    assert len(second["threads"]) == 1
    assert second["standing"] == most


def test_a_name_that_cannot_be_told_is_none():
    (left,) = looks("""
    class Odd(threading.Thread):
        name = property(lambda self: 1 / 0, lambda self, name: None)
    Odd(target=forever, daemon=True).start()
    look()
    """)

    assert left["threads"] == ["(no name)"]


def test_names_are_masked_bounded_and_in_one_line():
    (left,) = looks("""
    for number in range(50):
        start("a\\n\\0 sk-secret" + "x" * 300 + str(number))
    look(lambda name: name.replace("sk-secret", "***"))
    """)

    assert len(left["threads"]) == MOST_NAMES
    assert {len(name) for name in left["threads"]} == {LONGEST_NAME}
    assert all(name.startswith("a \ufffd ***x") for name in left["threads"])


def test_what_ends_in_a_moment_was_not_left():
    (left,) = looks(f"""
    threading.Thread(target=time.sleep, args=({GRACE_S / 4},)).start()
    subprocess.Popen(["true"])
    look()
    """)

    assert (left["threads"], left["children"]) == ([], [])


def test_children_are_told_by_pid_and_name_and_the_dead_are_collected():
    (left,) = looks("""
    child = subprocess.Popen(["sleep", "60"])
    for _ in range(3):
        os._exit(0) if os.fork() == 0 else None
    look()
    child.kill()
    """)

    (told,) = left["children"]
    assert told.split() == [told.split()[0], "sleep"]


def test_descriptors_are_told_once_and_by_kind():
    first, second = looks("""
    server = socket.create_server(("127.0.0.1", 0))
    kept = [socket.create_connection(server.getsockname()) for _ in range(12)]
    kept += [open("/etc/hostname") for _ in range(5)]
    kept += [open("/dev/null"), *os.pipe(), *socket.socketpair()]
    look()
    look()
    """)

    kinds = {text.partition(":")[0] for text in first["open"]}
    assert kinds == {
        *("12 socket to 127.0.0.1", "5 file", "2 unix socket", "2 pipe", "1 socket", "1 device")
    }
    assert (first["fds"], first["sockets"]) == (12 + 1 + 5 + 1 + 2 + 2, 12 + 1 + 2)
    assert (second["fds"], second["open"]) == (0, [])


def test_few_descriptors_are_told_when_they_have_become_many():
    found = looks(f"""
    kept = []
    for _ in range(3):
        kept += [open("/etc/hostname") for _ in range({SLACK_FDS // 2})]
        look()
    """)

    assert [left["fds"] for left in found] == [0, 0, SLACK_FDS // 2 * 3]


def test_what_the_collector_frees_was_not_left():
    (left,) = looks(f"""
    import gc
    gc.disable()
    circle = [[open("/etc/hostname") for _ in range({SLACK_FDS + 1})]]
    circle.append(circle)
    del circle
    look()
    """)

    assert left["fds"] == 0


def test_memory_that_stays_is_told():
    (left,) = looks("""
    kept = bytearray(64 << 20)
    kept[::4096] = bytes(len(kept[::4096]))
    look()
    """)

    assert 60 << 20 < left["rss_bytes"] < 80 << 20


@pytest.mark.slow
def test_crews_of_crewai_leave_no_thread_that_counts(tmp_path):
    with OfflineModel() as model:
        found = looks(
            """
            from crewai import Agent, Crew, Task

            def kickoff(**options):
                agent = Agent(role="Researcher", goal="Find facts", backstory="You dig.")
                task = Task(description="Research", expected_output="facts", agent=agent)
                Crew(agents=[agent], tasks=[task], **options).kickoff()
            for options in ({}, {}, {"memory": True}, {"memory": True}):
                kickoff(**options)
                look()
            """,
            tmp_path,
            CREWAI_STORAGE_DIR=str(tmp_path),
            **QUIET,
            **model.environment(),
        )

    assert [(left["threads"], left["children"]) for left in found] == [([], [])] * 4
    # Memory keeps some open at each run: a worker goes for it when they are a hundred.
    assert [left["fds"] for left in found[:2]] == [0, 0]
    assert found[0]["standing"] >= 2
