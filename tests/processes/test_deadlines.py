"""Deadlines hold whatever else goes on: Redis is away, the machine is busy, QUIT comes."""

import json
import signal
import subprocess
import sys

import pytest

from tests.support.linux import is_alive
from tests.support.redis_world import RedisWorld
from tests.support.waiting import wait_until

pytestmark = pytest.mark.alone


def test_a_deadline_holds_while_redis_is_away(start_supervisor, own_server):
    supervisor = start_supervisor(own_server.url, CREW_TIMEOUT_SECONDS=5, CREWPOOL_WORKERS=1)
    world = RedisWorld(own_server.client)
    run = world.publish(plugin="spins-in-c")
    pid = wait_until(lambda: supervisor.busy("spins-in-c"))

    own_server.stop()
    wait_until(lambda: supervisor.log_lines("redis_away"))
    assert is_alive(pid)
    wait_until(lambda: not is_alive(pid), 8)

    (seen,) = wait_until(lambda: supervisor.log_lines("run_post_mortem", run=run))
    assert seen["stall"] == "burning_cpu"
    own_server.start()
    result = wait_until(lambda: RedisWorld(own_server.client).result(run), 20)
    assert result["error"] == "Workflow exceeded 5s timeout"
    assert 4.99 <= result["meta"]["duration_s"] < 6


def test_stacks_come_also_while_the_machine_is_busy(start_supervisor, world):
    start_supervisor(CREW_TIMEOUT_SECONDS=1, CREWPOOL_WORKERS=4)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        runs = [world.publish(plugin="spins-in-c") for _ in range(8)]
        wait_until(lambda: world.have_results(runs), 30)
    finally:
        for process in busy:
            process.kill()
            process.wait()

    letters = world.dead_letters()
    assert len(letters) == 8
    # Not waited for beyond 25 ms: one may come too late, and the deadline goes first.
    with_stacks = [letter for letter in letters if "in kickoff" in letter.get("stack", "")]
    assert len(with_stacks) >= 7
    kinds = {json.loads(letter["post_mortem"])["stall"] for letter in letters}
    assert kinds == {"burning_cpu"}


def test_quit_leaves_word_of_all_that_ran(supervisor, world):
    runs = {plugin: world.publish(plugin=plugin) for plugin in ("sleeps", "spins-in-c")}
    wait_until(lambda: all(supervisor.busy(plugin) for plugin in runs))

    supervisor.signal(signal.SIGQUIT)

    assert supervisor.wait_exit() == 4
    seen = {line["run"]: line["stall"] for line in supervisor.log_lines("run_post_mortem")}
    assert seen == {runs["sleeps"]: "sleeping", runs["spins-in-c"]: "burning_cpu"}
    assert all("in kickoff" in "\n".join(supervisor.said(run)) for run in runs.values())
