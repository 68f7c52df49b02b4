"""What a run was doing when it was killed, as the commands tell it."""

import json
import re

from tests.support.plugins import write_crew
from tests.support.waiting import wait_until


def test_it_is_told_wherever_a_run_is_looked_at(
    crewpool, start_supervisor, redis_server, world, tmp_path
):
    plugins = write_crew(tmp_path, "dozes", "time.sleep(60)", manifest="timeout_s: 0.5")
    start_supervisor(plugin_dir=plugins)
    run = world.publish(plugin="dozes")
    wait_until(lambda: world.result(run) and "attempt_1" in world.record(run))

    def told(*arguments):
        said = crewpool(*arguments, REDIS_URL=redis_server.url, PLUGIN_DIR=plugins)
        assert said.returncode == 0, said.stderr
        return said.stdout

    assert "Attempt 1: It was sleeping." in told("runs", "show", run)
    letter = told("dlq", "show", run)
    assert re.search(r"^post_mortem +It was sleeping\.$", letter, re.MULTILINE)
    assert re.search(r'^ +File ".*crew\.py", line \d+ in kickoff$', letter, re.MULTILINE)
    assert "The cause is timeout" in (explained := told("explain", run))
    assert "It was sleeping." in explained
    (attempt,) = json.loads(told("runs", "show", run, "--json"))["attempts"]
    assert attempt["post_mortem"]["stall"] == "sleeping"


def test_what_others_wrote_in_its_place_breaks_nothing(crewpool, redis_server, world):
    hostile = {"stall": "waiting_on_socket", "peers": ["\x1b]0;x\x07[red]", 7, {"a": 1}]}
    facts = {
        f"attempt_{n + 1}": json.dumps({"post_mortem": seen})
        for n, seen in enumerate(
            [
                hostile,
                "text",
                ["list"],
                None,
                {"stall": ["burning_cpu"]},
                {"stall": "burning_cpu", "cores": "x"},
            ]
        )
    }
    world.client.hset("crewpool:run:r-1", mapping={"state": "failed", "attempt": "1", **facts})

    shown = crewpool("runs", "show", "r-1", REDIS_URL=redis_server.url)

    assert shown.returncode == 0, shown.stderr
    assert "Attempt 1: It was waiting on a socket to " in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "Attempt 6: It was burning CPU (x cores)." in shown.stdout
    assert not re.search("Attempt [2-5]:", shown.stdout)
