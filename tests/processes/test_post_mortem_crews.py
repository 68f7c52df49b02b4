"""The last moments of a real crew, whose model does not answer."""

import socket

import pytest

from tests.support.plugins import write_plugin
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.alone, pytest.mark.slow]

CREW = """
from crewai import LLM, Agent, Crew, Task


def create_crew(settings):
    llm = LLM(model="openai/gpt-4o-mini", base_url=settings["url"], api_key=settings["_key"])
    writer = Agent(role="Patient writer", goal="Write", backstory="You write.", llm=llm)
    task = Task(name="wait", description="Write a line", expected_output="A line", agent=writer)
    return Crew(agents=[writer], tasks=[task])
"""


def test_the_model_that_does_not_answer_is_named(start_supervisor, world, tmp_path):
    plugins = write_plugin(tmp_path, "patient", CREW, manifest="timeout_s: 3")
    supervisor = start_supervisor(
        plugin_dir=plugins, CREWPOOL_PRELOAD="crewai", CREWPOOL_WORKERS=1, wait=False
    )
    supervisor.wait_ready(60)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = {"url": f"http://{address}/v1", "_key": "sk-0123456789abcdef"}
        run = world.publish(plugin="patient", settings=settings)
        wait_until(lambda: world.record(run).get("call"), 60)
        result = wait_until(lambda: world.result(run), 30)

    seen = result["meta"]["post_mortem"]
    assert (seen["stall"], seen["peers"]) == ("waiting_on_socket", [address])
    assert "gpt-4o-mini" in seen["call"]
    assert (seen["agent"], seen["task"], seen["tasks"]) == ("Patient writer", 1, 1)
    (letter,) = world.dead_letters()
    assert "in kickoff" in letter["stack"]
    assert "sk-0123456789abcdef" not in str(letter) + str(result) + supervisor.log()
