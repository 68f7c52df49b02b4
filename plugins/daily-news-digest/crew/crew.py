"""Builds the crew of the daily news digest.

crewpool calls `create_crew()` once a run, with the defaults of settings.schema.json filled
in, and kicks the crew off. The words stand in config/, the feeds are read in tools/.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from crewai import Agent, Crew, Process, Task

from .tools.feeds import ReadFeeds

CONFIG = Path(__file__).parent / "config"
SENTENCES = {
    "short": "one sentence",
    "medium": "one or two sentences",
    "long": "three or four sentences",
}


def create_crew(settings: Mapping[str, Any], llm: Any = None, search_tool: Any = None) -> Crew:
    """Return the crew: a researcher, a writer, a reviewer, one after the other."""
    texts = {
        "topics": ", ".join(topic.strip() for topic in settings["topics"]),
        "sentences": SENTENCES[settings["summary_length"]],
    }
    agents, tasks = (_texts(name, texts) for name in ("agents.yaml", "tasks.yaml"))
    tools = [ReadFeeds(feeds=settings["feeds"]), *([search_tool] if search_tool else [])]

    researcher = Agent(**agents["researcher"], tools=tools, llm=llm, max_iter=5)
    writer = Agent(**agents["writer"], llm=llm, max_iter=3)
    reviewer = Agent(**agents["reviewer"], llm=llm, max_iter=3)

    gather = Task(**tasks["gather"], name="gather", agent=researcher)
    write = Task(**tasks["write"], name="write", agent=writer, context=[gather])
    review = Task(**tasks["review"], name="review", agent=reviewer, context=[gather, write])

    return Crew(
        agents=[researcher, writer, reviewer],
        tasks=[gather, write, review],
        process=Process.sequential,
        verbose=False,
    )


def _texts(name: str, values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Read a file of config/ and put the values in.

    CrewAI would do that at kickoff, but it would write a list of topics as Python does.
    """
    parts = yaml.safe_load((CONFIG / name).read_text("utf-8"))
    return {
        key: {field: text.format_map(values).strip() for field, text in part.items()}
        for key, part in parts.items()
    }
