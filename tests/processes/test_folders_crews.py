"""Crews of CrewAI that keep things on disk, one after the other in the same worker."""

import json

import pytest

from supervisor.embedded.offline_model import OfflineModel
from tests.support.plugins import write_plugin
from tests.support.waiting import wait_until

CREW = """
import json
import os
from crewai import Agent, Crew, Task
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.rag.config.utils import get_rag_client


class Told:
    json_dict = pydantic = None

    def __init__(self, raw):
        self.raw = raw


class Keeps:
    def __init__(self, settings):
        agent = Agent(role="Keeper", goal="Keep", backstory="Keeps things.", llm="gpt-4o-mini")
        task = Task(description="Say what is kept.", expected_output="A text", agent=agent)
        embedder = {"provider": "openai", "config": {"model": "text-embedding-3-small"}}
        more = {"memory": True} if settings.get("memory") else {}
        source = StringKnowledgeSource(content=settings["text"])
        self.crew = Crew(agents=[agent], tasks=[task], knowledge_sources=[source],
                         embedder=embedder, **more)
        self.tasks = self.crew.tasks

    def kickoff(self, inputs):
        self.crew.kickoff()
        found = self.crew.query_knowledge(["kept"], results_limit=5, score_threshold=0.0)
        storage, files = os.environ["CREWAI_STORAGE_DIR"], set()
        for folder, _, names in os.walk(storage):
            files |= {os.path.relpath(os.path.join(folder, name), storage) for name in names}
        default = get_rag_client().client.get_settings().persist_directory
        return Told(json.dumps({
            "found": [f["content"] for f in found], "files": sorted(files), "pid": os.getpid(),
            "storage": storage, "default": default,
        }))


def create_crew(settings):
    return Keeps(settings)
"""

FIRST, SECOND = {"text": "first is kept"}, {"text": "second is kept", "memory": True}


@pytest.mark.slow
def test_crews_with_knowledge_and_memory_find_their_own_and_nothing_else(
    start_supervisor, world, tmp_path
):
    home = tmp_path / "home"
    home.mkdir()
    plugins = write_plugin(tmp_path / "plugins", "keeps", CREW)
    with OfflineModel() as model:
        supervisor = start_supervisor(
            wait=False,
            plugin_dir=plugins,
            CREWPOOL_PRELOAD="crewai",
            CREWPOOL_WORKERS=1,
            HOME=home,
            **model.environment(),
        )
        supervisor.wait_ready(60)
        seen = []
        for settings in (FIRST, SECOND, FIRST, SECOND):
            run = world.publish(plugin="keeps", settings=settings)
            wait_until(lambda run=run: world.result(run), 60)
            seen.append((settings, json.loads(world.output(run)["raw"])))

    assert len({facts["pid"] for _, facts in seen}) == 1
    for settings, facts in seen:
        assert facts["found"] == [settings["text"]]
        assert facts["default"] == facts["storage"]
        assert "chroma.sqlite3" in facts["files"]
        has_memory = any(name.startswith("memory/") for name in facts["files"])
        assert has_memory == ("memory" in settings)
    # The import writes settings of its command line there, and no run writes anything.
    assert not [*home.rglob("*.db"), *home.rglob("*.sqlite3"), *home.rglob("crewpool-*")]
