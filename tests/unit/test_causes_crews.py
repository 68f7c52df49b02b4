"""What a real crew raises when a real server says 429, and what the worker makes of it.

The crews run in the worker's own executor, in a process of their own. The server speaks
HTTP and knows nothing of OpenAI but the shape of an error.
"""

import json
import os
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.plugins import write_plugin

pytestmark = pytest.mark.slow

# The environment a worker has; see worker/crew/lockdown.py.
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "PYTHON_DOTENV_DISABLED": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NO_PROXY": "127.0.0.1",
}

CREW = """
from crewai import LLM, Agent, Crew, Task


def create_crew(settings):
    model = LLM(model="gpt-4o-mini", base_url=settings["url"], api_key="sk-not-a-real-one",
                max_retries=0, stream=settings.get("stream", False))
    agent = Agent(role="Researcher", goal="Find facts", backstory="You dig.", llm=model,
                  max_retry_limit=0)
    def task(name, **options):
        return Task(description=name, expected_output="facts", agent=agent, **options)
    match settings.get("kind"):
        case "asynchronous":
            return Crew(agents=[agent], tasks=[task("a", async_execution=True), task("b")])
        case "asks":
            step = Task(description="a", expected_output="b", agent=agent, human_input=True)
            return Crew(agents=[agent], tasks=[step])
    return Crew(agents=[agent], tasks=[task("a"), task("b")])
"""

RUN = """
import json, sys
from pathlib import Path
import crewai
from worker.crew.executor import Executor
from worker.crew.folders import Folders
from worker.plugins import discover
from worker.protocol import Assignment

executor = Executor(discover(Path(sys.argv[1])), {}, 1_000_000, Folders(Path("slot").absolute()))
outcomes = {}
for name, settings in json.loads(sys.argv[2]).items():
    run = Assignment(run_id=name, plugin="asks-a-model", attempt=1, user_id=1, settings=settings)
    outcomes[name] = executor.execute(run, lambda progress: None).model_dump()
print("OUTCOMES" + json.dumps(outcomes))
"""


class Refuses(BaseHTTPRequestHandler):
    """Says no to every request, in the way that its path names."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        error = {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}
        status, headers = 429, {}
        match self.path.split("/")[1]:
            case "seconds":
                headers = {"Retry-After": "7"}
            case "date":
                headers = {"Retry-After": formatdate(time.time() + 3000, usegmt=True)}
            case "hostile":
                headers = {"Retry-After": "9" * 4000}
            case "gateway":
                status, error = 200, {"message": "upstream is busy", "code": 429}
            case "broken":
                status, error = 500, {"message": "Error code: 429 - rate limit", "code": None}
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep quiet."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causes")
    plugins = write_plugin(folder / "plugins", "asks-a-model", CREW)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def run(how, **settings):
            return {"url": f"http://127.0.0.1:{server.server_port}/{how}/v1", **settings}

        runs = {
            "seconds": run("seconds"),
            "date": run("date"),
            "hostile": run("hostile"),
            "gateway": run("gateway"),
            "broken": run("broken"),
            "streaming": run("seconds", stream=True),
            "asynchronous": run("seconds", kind="asynchronous"),
            "asks": run("seconds", kind="asks"),
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(plugins), json.dumps(runs)],
            env=os.environ | QUIET | {"CREWAI_STORAGE_DIR": str(folder)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("OUTCOMES")[2])


@pytest.mark.parametrize("name", ["seconds", "streaming", "asynchronous"])
def test_a_429_of_the_model_reaches_the_outcome_with_its_retry_after(outcomes, name):
    outcome = outcomes[name]

    assert (outcome["ended"], outcome["retry_after_s"]) == ("rate_limited", 7)
    assert "429" in outcome["error"]
    assert "RateLimitError" in outcome["stack"]


def test_a_date_becomes_the_seconds_until_then(outcomes):
    assert outcomes["date"]["ended"] == "rate_limited"
    assert 2800 < outcomes["date"]["retry_after_s"] <= 3001


def test_a_hostile_header_is_no_wait(outcomes):
    hostile = outcomes["hostile"]

    assert (hostile["ended"], hostile["retry_after_s"]) == ("rate_limited", None)


def test_a_429_that_a_gateway_hides_in_a_200_is_found(outcomes):
    assert outcomes["gateway"]["ended"] == "rate_limited"


def test_a_server_that_only_writes_429_is_an_exception(outcomes):
    assert "429" in outcomes["broken"]["error"]
    assert outcomes["broken"]["ended"] == "exception"


def test_a_task_that_wants_a_person_needs_a_human(outcomes):
    assert outcomes["asks"]["ended"] == "needs_human"
    assert "human_input=True" in outcomes["asks"]["error"]
