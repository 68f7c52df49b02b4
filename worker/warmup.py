"""Does in the zygote, once, what every first kickoff would do again in each worker.

A first kickoff in a fresh process cost 530 ms instead of 90 (trap C8): the openai package
loads its resources on first use, and pydantic completes CrewAI's models when the first
object of each is made. Both happen here, before the freeze. Nothing is sent and nothing is
emitted: the event bus would start its threads (trap C5), and the fork gate is asked next.
"""

import importlib
import logging
import os
import sys

OFFLINE_MODEL = "CREWPOOL_OFFLINE_MODEL_URL"
# What crewai and its OpenAI provider import inside functions. A name that another version
# does not have is no harm: the worker imports what it needs by itself.
LATE_MODULES = (
    "openai.resources",
    "openai.resources.chat.completions",
    "openai.resources.responses",
    "openai.pagination",
    "httpcore",
    "h11",
    "crewai.hooks.contexts",
    "crewai.llms.cache",
    "crewai.skills.tool",
)


def warm() -> None:
    """Pay first-use costs ahead. Does nothing where crewai is not loaded.

    Raises what another version of crewai may raise; the caller says so and goes on.
    """
    if "crewai" not in sys.modules:
        return
    if OFFLINE_MODEL in os.environ:
        # It warns at every call that this model's tokens can only be estimated. We know.
        logging.getLogger("crewai.llms.base_llm").setLevel(logging.ERROR)
    for name in LATE_MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    _make_one_of_each()


def _make_one_of_each() -> None:
    """Make a crew and throw it away. It has a key that opens nothing, and asks nobody."""
    from crewai import LLM, Agent, Crew, Task  # noqa: PLC0415  # loaded long ago

    model = LLM(model="openai/gpt-4o-mini", api_key="none", base_url="http://127.0.0.1:9/v1")
    agent = Agent(role="warm-up", goal="none", backstory="none", llm=model)
    task = Task(description="none", expected_output="none", agent=agent)
    Crew(agents=[agent], tasks=[task])
