"""Crews of many kinds, unmodified, on the offline model by environment only."""

import json
import os
import subprocess
import sys

import pytest

from supervisor.embedded.conversation import NOTE
from supervisor.embedded.offline_model import OfflineModel

pytestmark = pytest.mark.slow

QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "PYTHON_DOTENV_DISABLED": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

RUN = '''
import json
from crewai import Agent, Crew, LLM, Process, Task
from crewai.tools import tool
from pydantic import BaseModel

asked = []

@tool("Web search")
def search(query: str, max_results: int = 5) -> str:
    """Search the web for a query."""
    asked.append(query)
    return "Ferry runs on sodium\\nhttps://a.example.com/1\\nNorthport's ferry runs on sodium."

@tool("Archive")
def broken(query: str) -> str:
    """Search the archive for a query."""
    raise ValueError("the archive is shut")

class Story(BaseModel):
    headline: str
    url: str | None = None
    score: float = 0.5

class Report(BaseModel):
    title: str
    summary: str
    stories: list[Story]
    count: int
    is_ready: bool

def agent(role="Researcher", **options):
    return Agent(role=role, goal="Find facts", backstory="You dig.", **options)

def research(who=None, **options):
    text = "Research the latest developments about sodium batteries"
    return Task(description=text, expected_output="A list of findings", agent=who, **options)

def alone(who, **options):
    return Crew(agents=[who], tasks=[research(who)], **options)

def structured():
    first, second = agent(tools=[search]), agent("Writer")
    found = research(first)
    task = Task(description="Sum up", expected_output="A report", agent=second,
                output_pydantic=Report, context=[found])
    return Crew(agents=[first, second], tasks=[found, task])

crews = {
    "default": lambda: alone(agent(tools=[search])),
    "by name": lambda: alone(agent(tools=[search], llm="gpt-4o-mini")),
    "with provider": lambda: alone(agent(tools=[search], llm="openai/gpt-4o")),
    "in words": lambda: alone(agent(tools=[search], llm="o1-mini")),
    "streaming": lambda: alone(agent(tools=[search], llm=LLM(model="gpt-4o", stream=True))),
    "structured": structured,
    "with a manager": lambda: Crew(agents=[agent(tools=[search]), agent("Writer")],
        tasks=[research()], process=Process.hierarchical, manager_llm="gpt-4o"),
    "planning": lambda: alone(agent(tools=[search]), planning=True),
    "reasoning": lambda: alone(agent(tools=[search], reasoning=True)),
    "memory": lambda: alone(agent(tools=[search]), memory=True),
    "broken tool": lambda: alone(agent(tools=[broken])),
}
results = {}
for name, make in crews.items():
    asked.clear()
    result = make().kickoff()
    model = result.pydantic.model_dump() if result.pydantic else None
    results[name] = {"raw": result.raw, "asked": list(asked), "pydantic": model}
print("RESULTS" + json.dumps(results))
'''


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    storage = tmp_path_factory.mktemp("storage")
    with OfflineModel() as model:
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            env=os.environ | model.environment() | QUIET | {"CREWAI_STORAGE_DIR": str(storage)},
            cwd=storage,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("RESULTS")[2])


@pytest.mark.parametrize(
    "name",
    [
        *("default", "by name", "with provider", "in words", "streaming"),
        *("with a manager", "planning", "reasoning", "memory"),
    ],
)
def test_a_crew_of_any_kind_answers_from_what_its_tool_returned(results, name):
    result = results[name]

    assert "## Ferry runs on sodium\n\nNorthport's ferry runs on sodium." in result["raw"]
    assert result["raw"].count(NOTE) == 1
    assert result["asked"]


@pytest.mark.parametrize("name", ["default", "in words", "streaming", "memory"])
def test_the_tool_is_asked_for_what_the_task_is_about(results, name):
    assert results[name]["asked"] == ["sodium batteries"]


def test_a_structured_answer_becomes_the_model_it_was_asked_for(results):
    report = results["structured"]["pydantic"]

    assert report["stories"] == [
        {"headline": "Ferry runs on sodium", "url": "https://a.example.com/1", "score": 0.5}
    ]
    assert (report["count"], report["is_ready"]) == (1, True)
    assert NOTE in report["summary"]


def test_a_broken_tool_is_reported_not_covered_up(results):
    assert "the archive is shut" in results["broken tool"]["raw"]
