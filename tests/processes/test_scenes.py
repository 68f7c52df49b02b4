"""Looking at real processes that wait for something, from outside."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from supervisor.pool.scene import LIMIT_S, read_scene
from supervisor.pool.stall import Kind, stall_of
from tests.support.waiting import stays_true, wait_until

PROGRAMS = {
    "time.sleep(60)": Kind.SLEEPING,
    "asyncio.run(asyncio.sleep(60))": Kind.SLEEPING,
    "threading.Event().wait(60)": Kind.SLEEPING,
    "ThreadPoolExecutor(2).submit(time.sleep, 60).result()": Kind.SLEEPING,
    "while True: pass": Kind.BURNING_CPU,
    "threading.Thread(target=lambda: any(iter(int, 1))).start()": Kind.BURNING_CPU,
    "threading.Event().wait()": Kind.DEADLOCKED,
    "lock = threading.Lock(); lock.acquire(); lock.acquire()": Kind.DEADLOCKED,
    "asyncio.run(never())": Kind.DEADLOCKED,
    'subprocess.run(["sleep", "60"])': Kind.WAITING_ON_CHILD,
    'subprocess.run(["sleep", "60"], capture_output=True)': Kind.WAITING_ON_CHILD,
    "os.read(os.pipe()[0], 1)": Kind.UNKNOWN,
}
ON_A_SOCKET = (
    "socket.create_connection(there).recv(1)",
    "socket.create_connection(there, timeout=60).recv(1)",
    "select.select([socket.create_connection(there)], [], [])",
    "asyncio.run(receive())",
    "asyncio.run(asyncio.to_thread(lambda: socket.create_connection(there).recv(1)))",
    "Thread(target=lambda: socket.create_connection(there).recv(1)).start(); time.sleep(60)",
)
HEAD = """
import asyncio, os, select, socket, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
there = ("127.0.0.1", int(sys.argv[1]))
async def never():
    await asyncio.Event().wait()
async def receive():
    reader, writer = await asyncio.open_connection(*there)
    await reader.read(1)
"""


@contextmanager
def running(code, port=0):
    with subprocess.Popen([sys.executable, "-c", f"{HEAD}\n{code}", str(port)]) as process:
        try:
            yield process.pid
        finally:
            for child in children(process.pid):
                subprocess.run(["kill", "-9", child], check=False)
            process.kill()


def children(pid):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, check=False
    )
    return found.stdout.decode().split()


def look_twice(pid):
    first = read_scene(pid)
    # As long as between deadline and kill.
    stays_true(lambda: True, 0.01)
    return stall_of(first, read_scene(pid, briefly=True))


@pytest.mark.parametrize(("code", "kind"), PROGRAMS.items())
def test_it_is_seen_what_a_process_waits_for(code, kind):
    with running(code) as pid:
        wait_until(lambda: look_twice(pid).kind is kind)


@pytest.mark.parametrize("code", ON_A_SOCKET)
def test_it_is_seen_whom_a_process_waits_for(code):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with running(code, port) as pid:
            peers = (f"127.0.0.1:{port}",)
            stall = wait_until(lambda: (s := look_twice(pid)).peers == peers and s)

    assert stall.kind is Kind.WAITING_ON_SOCKET


def test_a_process_that_is_gone_is_an_empty_scene():
    with running("") as pid:
        pass

    assert read_scene(pid).threads == ()


def test_threads_without_end_cost_no_more_than_some():
    code = "[Thread(target=time.sleep, args=(60,)).start() for _ in range(400)]; time.sleep(60)"
    with running(code) as pid:
        wait_until(lambda: read_scene(pid).count == 401)

        began = time.thread_time()
        scene = read_scene(pid)

        assert len(scene.threads) <= 64
        assert scene.threads[0].tid == pid
        assert time.thread_time() - began < 3 * LIMIT_S


def test_our_own_threads_can_be_looked_at():
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        wait_until(
            lambda: "futex" in {t.call.name for t in read_scene(threading.get_native_id()).threads}
        )
    finally:
        done.set()
        other.join()
