"""A real crew whose model says 429 for a while: its run waits without a slot, and completes.

The model is a server of the test's own; CrewAI and OpenAI's client are the real ones.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.plugins import write_crew, write_plugin
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

RETRY_AFTER_S = 3
CREW = """
from crewai import LLM, Agent, Crew, Task


def create_crew(settings):
    model = LLM(model="gpt-4o-mini", base_url=settings["url"], api_key="sk-not-a-real-one",
                max_retries=0)
    agent = Agent(role="Writer", goal="Write", backstory="You write.", llm=model,
                  max_retry_limit=0)
    return Crew(agents=[agent], tasks=[Task(description="Write", expected_output="a text",
                                            agent=agent)])
"""


class Model(BaseHTTPRequestHandler):
    """Says 429 as often as it was told to, then answers."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked_at.append(time.monotonic())
        if len(self.server.asked_at) <= self.server.refuses:
            error = {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}
            self.answer(429, {"error": error}, {"Retry-After": str(RETRY_AFTER_S)})
        else:
            said = {"role": "assistant", "content": "Final Answer: # News\n\nAll is well."}
            self.answer(200, completion(said), {})

    def answer(self, status, body, headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Keep quiet."""


def completion(message):
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }


@pytest.fixture
def model():
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        # CrewAI itself asks three times in each start.
        server.asked_at, server.refuses = [], 3
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_run_that_its_model_refused_is_started_again_after_retry_after(
    start_supervisor, world, model, tmp_path
):
    plugins = write_plugin(tmp_path / "plugins", "writes", CREW)
    write_crew(plugins, "well", "return '# Well'")
    supervisor = start_supervisor(
        wait=False,
        plugin_dir=plugins,
        CREWPOOL_PRELOAD="crewai",
        CREWPOOL_WORKERS=1,
        CREWPOOL_RETRY='{"rate_limited": {"backoff_s": 0}}',
        NO_PROXY="127.0.0.1",
    ).wait_ready(60)
    url = f"http://127.0.0.1:{model.server_port}/v1"

    run = world.publish(plugin="writes", settings={"url": url})
    wait_until(lambda: len(model.asked_at) == 3, 30, "the model refused")
    other = world.publish(plugin="well")
    wait_until(lambda: world.result(other), 10, "the only slot is free for another run")
    assert world.result(run) is None
    wait_until(lambda: world.result(run), 30, "it came through")

    assert world.result(run)["status"] == "completed"
    assert "All is well." in world.output(run)["raw"]
    assert world.result(run)["meta"]["attempt"] == 2
    assert json.loads(world.record(run)["attempt_1"])["cause"] == "rate_limited"
    assert model.asked_at[3] - model.asked_at[2] >= RETRY_AFTER_S
    assert len(supervisor.log_lines("run_started", run=run)) == 2
    assert world.dead_letters() == []
