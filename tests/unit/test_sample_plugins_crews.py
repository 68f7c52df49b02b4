"""The sample plugins as real crews, on the real offline model, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.embedded.conversation import NOTE
from supervisor.embedded.offline_model import OfflineModel

pytestmark = pytest.mark.slow

PLUGINS = Path(__file__).parents[2] / "plugins"
FEEDS = ["harbour-herald.rss", "meridian-letter.atom"]

# The environment a worker has; see worker/crew/lockdown.py.
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "PYTHON_DOTENV_DISABLED": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

RUN = """
import json, sys
plugin, runs = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, plugin)
from crewai import LLM
from crewai.tools import tool
from crew.crew import create_crew

@tool("web_search")
def web_search(query: str) -> str:
    "Search the web for stories on technology and science."
    return "Nothing new"

results = []
for settings in runs:
    options = settings.pop("options", {})
    if "llm" in options:
        options["llm"] = LLM(**options["llm"])
    if "search_tool" in options:
        options["search_tool"] = web_search
    crew = create_crew(settings, **options)
    result = crew.kickoff(inputs=settings)
    results.append({
        "raw": result.raw,
        "tasks": [task.raw for task in result.tasks_output],
        "tools": [[t.name for t in agent.tools] for agent in crew.agents],
        "models": [agent.llm.model for agent in crew.agents],
    })
print("RESULTS" + json.dumps(results))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a plugin several times in one process; importing crewai is what takes long."""
    storage = tmp_path_factory.mktemp("storage")
    with OfflineModel() as model:
        environment = os.environ | model.environment() | QUIET
        environment["CREWAI_STORAGE_DIR"] = str(storage)

        def run(plugin, *runs):
            done = subprocess.run(
                [sys.executable, "-c", RUN, str(PLUGINS / plugin), json.dumps(runs)],
                env=environment,
                cwd=storage,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            return json.loads(done.stdout.rpartition("RESULTS")[2])

        yield run


def settings(**changes):
    return {"topics": ["technology"], "summary_length": "medium", "feeds": FEEDS} | changes


@pytest.fixture(scope="module")
def digests(run):
    """Digests by what is special about them."""
    runs = {
        "plain": settings(),
        "two topics": settings(topics=["health", "science"], summary_length="short"),
        "long": settings(summary_length="long"),
        "nothing": settings(topics=["quantum knitting"]),
        "hostile": settings(
            topics=["climate"],
            feeds=[
                *(FEEDS[0], "../../etc/passwd", "file:///etc/passwd", "/etc/passwd"),
                *("http://127.0.0.1:1/feed", "plugin.yaml"),
            ],
        ),
        "only hostile": settings(feeds=["../../../../etc/passwd"]),
        "own model": settings(options={"llm": {"model": "gpt-4o", "stream": True}}),
        "search": settings(options={"search_tool": True}),
    }
    return dict(zip(runs, run("daily-news-digest", *runs.values()), strict=True))


TECHNOLOGY = [
    "Northport's ferries switch to sodium batteries",
    "Open-source router firmware gets seven years of updates",
    "Chip that counts single photons runs at room temperature",
]


def headlines(markdown):
    return [line.strip("*") for line in markdown.splitlines() if line.startswith("**")]


def test_the_headlines_come_from_the_feeds_and_are_on_the_topic(digests):
    assert headlines(digests["plain"]["raw"]) == TECHNOLOGY


def test_a_digest_has_title_sum_sections_and_sources(digests):
    lines = [line for line in digests["plain"]["raw"].splitlines() if line]

    assert lines[0] == "# Daily news digest: technology"
    assert lines[1] == (
        "Three stories on technology, from The Harbour Herald and Meridian Science Letter, "
        "12 to 13 February 2026."
    )
    assert lines[2:4] == ["## Technology", f"**{TECHNOLOGY[0]}**"]
    assert lines[5] == (
        "*The Harbour Herald · 13 February 2026 · "
        "[Read more](https://herald.example.com/2026/02/13/sodium-ferries)*"
    )
    assert lines[-2:] == ["## About this text", NOTE]


def test_each_topic_has_its_section_in_the_order_asked_for(digests):
    raw = digests["two topics"]["raw"]

    assert raw.index("## Health") < raw.index("## Science")
    assert headlines(raw) == [
        "Evening clinics halve the wait for a hearing test",
        "Ten minutes of balance training cut falls among over-70s by a quarter",
        "A telescope on a balloon maps dust in a nearby star nursery",
        "Crows remember who shared food for at least four years",
        "Ice cores date a forgotten eruption to the spring of 1287",
    ]


@pytest.mark.parametrize(
    ("digest", "sentence"),
    [("plain", 2), ("long", 4)],
)
def test_the_summary_length_is_obeyed(digests, digest, sentence):
    texts = [
        "Northport has put two of its five ferries",
        "The batteries cost a third less",
        "Each crossing takes two minutes longer",
        "The harbour office will publish",
    ]

    assert all(text in digests[digest]["raw"] for text in texts[:sentence])
    assert not any(text in digests[digest]["raw"] for text in texts[sentence:])


def test_a_short_digest_has_one_sentence_a_story(digests):
    raw = digests["two topics"]["raw"]

    assert "still preferred its company." in raw
    assert "Birds that had seen it only from afar did not." not in raw


def test_the_remark_on_the_origin_is_never_doubled(digests):
    for digest in digests.values():
        assert [task.count(NOTE) for task in digest["tasks"]] == [1, 1, 1]


def test_hostile_feeds_are_refused_and_the_others_are_read(digests):
    raw = digests["hostile"]["raw"]

    assert headlines(raw) == ["Rain gardens keep the old town dry in its wettest January"]
    for feed in ("../../etc/passwd", "file:///etc/passwd", "/etc/passwd"):
        assert f"- Could not read '{feed}': refused. Feeds are addresses with http://" in raw
    assert "- Could not read 'http://127.0.0.1:1/feed': ConnectError" in raw
    assert "- Could not read 'plugin.yaml': there is no such file" in raw
    assert "root:" not in raw


def test_without_any_story_the_digest_says_so(digests):
    raw = digests["nothing"]["raw"]

    assert raw.startswith(
        "# Daily news digest: quantum knitting\n\nNone of the 13 items read is on"
    )
    assert "They are about: animals, business, climate" in raw
    assert "Could not read" in digests["only hostile"]["raw"]
    assert not headlines(digests["only hostile"]["raw"])


def test_a_model_of_the_run_is_used_by_all_agents_and_streams(digests):
    assert digests["own model"]["models"] == ["gpt-4o"] * 3
    assert digests["own model"]["raw"] == digests["plain"]["raw"]


def test_a_search_tool_is_given_to_the_researcher(digests):
    assert digests["search"]["tools"] == [["read_feeds", "web_search"], [], []]
    assert headlines(digests["search"]["raw"]) == TECHNOLOGY


def test_hello_greets(run):
    (result,) = run("hello", {"name": "Ada"})

    assert result["raw"] == f"Hello, Ada! Welcome to crewpool.\n\n*{NOTE}*"


def test_hello_is_as_small_as_it_says():
    assert len((PLUGINS / "hello/crew/crew.py").read_text().splitlines()) <= 25
