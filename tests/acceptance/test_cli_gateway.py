"""`crewpool up --gateway`: runs over HTTP on a machine without services."""

import json
import re
import signal
import urllib.request

from tests.support.waiting import wait_until


def test_up_takes_runs_over_http_and_leaves_nothing_behind(crewpool):
    running = crewpool.start(
        *("up", "--redis-port", 0, "--gateway", "--records"),
        REDIS_URL=None,
        CREWPOOL_GATEWAY_PORT=0,
    )
    running.wait_for("zygote_ready")
    running.wait_for("gateway_started")
    base = re.search(r"Gateway +(http://127\.0\.0\.1:\d+)/openapi\.json", running.err)[1]
    below = running.below()
    asked = {"plugin_name": "echoes", "user_id": 7, "settings": {"text": "over HTTP"}}
    request = urllib.request.Request(
        f"{base}/v1/runs", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        run_url = base + answer.headers["Location"]

    def run():
        with urllib.request.urlopen(run_url, timeout=10) as answer:
            return json.load(answer)

    wait_until(lambda: run()["status"] == "completed", 20, "the run has completed")
    assert run()["input"] == {"text": "over HTTP"}
    assert "over HTTP" in json.dumps(run()["output"])
    with urllib.request.urlopen(f"{run_url}/events", timeout=10) as answer:
        assert "event: result" in answer.read().decode()
    running.signal(signal.SIGTERM)
    assert running.wait_exit() == 0
    assert "gateway_left" in running.err
    wait_until(lambda: not any(p.is_running() for p in below), what="all its processes are gone")


def test_up_says_before_anything_starts_that_the_gateway_cannot(crewpool):
    done = crewpool("up", "--gateway", REDIS_URL=None, CREWPOOL_GATEWAY_HOST="0.0.0.0")

    assert done.returncode == 2
    assert "CREWPOOL_GATEWAY_TOKEN_FILE" in done.stderr
