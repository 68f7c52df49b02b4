"""What several commands need: the option --json, the settings, the queue.

Called by the commands. It prints nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from supervisor.cli.preflight import redis_url_trouble
from supervisor.configuration import load
from supervisor.errors import SettingsWrong
from supervisor.settings import Settings
from supervisor.streams.deployment import queue_of
from supervisor.streams.queue import Queue

Answer = TypeVar("Answer")
AsJson = Annotated[bool, typer.Option("--json", help="The same as JSON, for programs.")]


def with_queue(
    ask: Callable[[Queue], Awaitable[Answer]], settings: Settings | None = None
) -> Answer:
    """Ask Redis something and hang up. Raises RedisAway."""

    async def asking() -> Answer:
        queue = checked_queue(settings or load())
        try:
            return await ask(queue)
        finally:
            await queue.close()

    return asyncio.run(asking())


def checked_queue(settings: Settings) -> Queue:
    """Return the queue that the settings name. Raises SettingsWrong for a URL that is none."""
    if trouble := redis_url_trouble(settings):
        raise SettingsWrong([str(trouble)])
    return queue_of(settings)
