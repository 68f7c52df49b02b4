"""Publishes runs for an application: a script that adds a run once, however often it is called.

Two classes of one shape: AsyncPublisher for asyncio, Publisher for all other code, from any
thread, also after a fork. Errors say what happened, to which run, and, by `is_retryable`,
whether publishing the same request again can help; it is safe in any case.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from pydantic import SecretStr, ValidationError

from supervisor.addresses import without_password
from supervisor.errors import RedisAway
from supervisor.runs.requests import PluginRequest
from supervisor.settings import Settings
from supervisor.streams.deployment import queue_of
from supervisor.streams.inspect import Refused, is_url
from supervisor.streams.orders import Cancelled, cancel
from supervisor.streams.publish import Published, PublishUncertain, QueueFull, publish
from worker.errors import CrewpoolError

Answer = TypeVar("Answer")
RIGHTS = "give the user of REDIS_URL the rights of `crewpool` in deploy/redis/users.acl"


class AddressInvalid(CrewpoolError):  # noqa: N818  # named for what happened
    """No client can be made of this URL. A retry cannot help."""

    is_retryable = False
    next_step = "mend REDIS_URL, or the URL that was given"

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(f"{without_password(url)[:200]!r} is no address of Redis: {problem}")


class PublishFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """Redis did not take the run.

    `is_retryable`: it is away or full, and later it may; else it refuses us, and somebody has
    to change something, a right where `is_permission`. `is_known_to_have_failed` is False when
    the reply got lost. `because` is the cause alone, for whoever publishes it again.
    """

    def __init__(self, run_id: str, cause: CrewpoolError) -> None:
        self.run_id = run_id
        self.is_retryable = not isinstance(cause, Refused) or cause.is_passing
        self.is_permission = isinstance(cause, Refused) and cause.is_permission
        self.next_step = RIGHTS if self.is_permission else getattr(cause, "next_step", None)
        self.is_known_to_have_failed = not isinstance(cause, PublishUncertain)
        self.because = str(cause)
        advice = "publish it again later" if self.is_retryable else "a retry cannot help"
        super().__init__(f"Run {run_id} was not published ({advice}): {cause}")


class AsyncPublisher:
    """Publishes from asyncio; an async context manager.

    `url` overrules REDIS_URL; names and bounds come from `settings`, by default from the
    environment and crewpool.toml as everywhere. Raises AddressInvalid. Nothing is connected
    before the first run.
    """

    def __init__(self, url: str | None = None, settings: Settings | None = None) -> None:
        self._settings = _at(url, settings or Settings())
        self._queue = queue_of(self._settings)

    async def publish(self, request: PluginRequest) -> str:
        """Publish a run; return the id of its entry.

        "" where none was added: the run waits for its time, or is known already (`place` tells
        which). Raises RequestInvalid and PublishFailed.
        """
        return (await self.place(request)).entry_id

    async def place(self, request: PluginRequest) -> Published:
        """Publish a run; return what became of it. Raises like `publish`."""
        publication = request.publication(self._settings.max_payload_bytes)
        try:
            return await publish(self._queue, publication)
        except (RedisAway, PublishUncertain, QueueFull, Refused) as error:
            raise PublishFailed(request.plugin_run_id, error) from error

    async def cancel(self, run_id: str) -> Cancelled:
        """Cancel a run that was asked for, published or not. Raises RedisAway and Refused."""
        return await cancel(self._queue, run_id, is_asked_for=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._queue.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Publisher:
    """Publishes from code that does not await; a context manager, for all threads together.

    The waiting is done in a thread of its own, which starts with the first run, and anew in
    a process that was forked since (gunicorn with preload, say).
    """

    def __init__(self, url: str | None = None, settings: Settings | None = None) -> None:
        self._settings = _at(url, settings or Settings())
        self._here: _Aside | None = None
        self._of_parent: _Aside | None = None
        self._lock = threading.Lock()
        # Weakly: what is registered stays so for as long as the process lives.
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (here := forget()) and here())

    def publish(self, request: PluginRequest) -> str:
        """Publish a run; return the id of its entry. As AsyncPublisher.publish."""
        return self.place(request).entry_id

    def place(self, request: PluginRequest) -> Published:
        """Publish a run; return what became of it. As AsyncPublisher.place."""
        return self._ask(lambda publisher: publisher.place(request))

    def cancel(self, run_id: str) -> Cancelled:
        """Cancel a run that was asked for, published or not. As AsyncPublisher.cancel."""
        return self._ask(lambda publisher: publisher.cancel(run_id))

    def _ask(self, ask: Callable[[AsyncPublisher], Coroutine[Any, Any, Answer]]) -> Answer:
        with self._lock:
            if self._here is None:
                self._here = _Aside(self._settings)
            # Under the lock: what `close` finds there it waits for, and nothing comes later.
            answer = self._here.begin(ask(self._here.publisher))
        return answer.result()

    def close(self) -> None:
        """Close the connections and end the thread, after what other threads have begun.

        A later run starts them again.
        """
        with self._lock:
            here, self._here = self._here, None
        if here is not None:
            here.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self) -> None:
        # The thread stayed with the parent, and some other may have held the lock. What it had
        # is kept: to close it would take its connections out of the epoll that both share.
        self._of_parent, self._here, self._lock = self._here, None, threading.Lock()


class _Aside:
    """An AsyncPublisher with a loop in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="crewpool-publisher", daemon=True
        )
        self._thread.start()
        self.publisher = AsyncPublisher(settings=settings)

    def begin(self, coroutine: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        self.begin(self._finish()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        # Each has an end: Redis answers, or a timeout does.
        begun = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*begun, return_exceptions=True)
        await self.publisher.close()


def _at(url: str | None, settings: Settings) -> Settings:
    if url is not None:
        try:
            Settings.model_validate({"redis_url": url})
        except ValidationError as error:
            raise AddressInvalid(url, error.errors()[0]["msg"]) from None
        settings = settings.model_copy(update={"redis_url": SecretStr(url)})
    if not is_url(settings.redis_address, settings.requests_stream):
        raise AddressInvalid(settings.redis_address, "a part of it cannot be read")
    return settings
