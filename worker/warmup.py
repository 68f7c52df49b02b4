"""Does in the zygote, once, what every first kickoff would do again in each worker.

A first kickoff in a fresh process cost 530 ms instead of 90 (trap C8): the openai package
loads its resources on first use, and pydantic completes CrewAI's models when the first
object of each is made. It happens here, before the freeze, so that the pages are shared, too:
30 MB of a worker's own after its first crew became 18. Nothing is sent and nothing is emitted,
and the fork gate is asked next.
"""

import importlib
import logging
import os
import sys
from collections.abc import Callable

from worker.rehearsal import rehearse
from worker.sharing import remember_signatures, share_state, share_tls

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
    _each(share_tls, remember_signatures, share_state, rehearse)


def _each(*steps: Callable[[], None]) -> None:
    """Take every step; raise the first error when all were tried."""
    errors = []
    for step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001  # raised below
            errors.append(error)
    if errors:
        raise errors[0]
