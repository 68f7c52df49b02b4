"""Asks for runs on behalf of an application: recorded first, published second.

A run that is recorded is not lost: while Redis is away or full it waits in the outbox, and the
relay publishes it. Only what a retry cannot help is an error, and a record that failed.
"""

import os
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, Self

from supervisor.errors import RedisAway
from supervisor.runs.answers import UNIQUE
from supervisor.runs.errors import RecordsAway
from supervisor.runs.outbox import NewRun
from supervisor.runs.publisher import AddressInvalid, Publisher, PublishFailed
from supervisor.runs.records import open_sealer, open_store
from supervisor.runs.relay import Places, Relay
from supervisor.runs.requests import PluginRequest
from supervisor.settings import Settings
from supervisor.streams.inspect import Refused

if TYPE_CHECKING:
    from supervisor.runs.models import PluginRun
    from supervisor.runs.sealing import Sealer
    from supervisor.runs.store import RunStore

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
LARGEST_PAYLOAD_BYTES = 1_048_576


@dataclass(frozen=True)
class Options:
    """How hard a call tries, and what else counts as the same run.

    `retries` is how often a publication is tried again that Redis did not take, and `timeout_s`
    the length after which no further try begins. They bound the call, not the run: what could
    not be published then waits in the outbox for as long as it takes. For `unique_for_s` no
    other run of the same plugin, user and settings is recorded, at most until this one ends;
    None lets it.
    """

    retries: int = 2
    timeout_s: float = 600.0
    unique_for_s: float | None = 1800.0


DEFAULTS = Options()


@dataclass(frozen=True)
class Dispatched:
    """What became of a request. `status` is that of its record.

    `published`: it stands in Redis. `waiting`: it is accepted and waits in the outbox, `because`
    says why. `known`: the same run id was dispatched before, or cancelled meanwhile. `unique`:
    nothing was recorded, `run_id` is that of the other run that is on.
    """

    what: str
    run_id: str
    status: str
    because: str = ""


class Dispatcher:
    """Dispatches from any thread, and relays what waits in a thread of its own.

    A context manager. Several may use the same records. After a fork the child relays for
    itself, too.
    """

    def __init__(
        self,
        store: "RunStore",
        publisher: Places,
        sealer: "Sealer | None" = None,
        max_payload_bytes: int = LARGEST_PAYLOAD_BYTES,
    ) -> None:
        self.store = store
        self._publisher = publisher
        self._sealer = sealer
        self._max_payload_bytes = max_payload_bytes
        self._relay = Relay(store, publisher, sealer)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # Weakly: what is registered stays so for as long as the process lives.
        forget = weakref.WeakMethod(self._forget)
        os.register_at_fork(after_in_child=lambda: (here := forget()) and here())

    @classmethod
    def of(cls, settings: Settings | None = None) -> Self:
        """Return the dispatcher that the settings name, by default those of the environment.

        Raises RecordsNotConfigured, RecordsNotInstalled, RecordsMisconfigured, OutboxKeyUnfit.
        """
        settings = settings or Settings()
        store = open_store(settings)
        publisher: Places
        try:
            publisher = Publisher(settings=settings)
        except AddressInvalid as error:
            publisher = _Nowhere(error)
        return cls(store, publisher, open_sealer(settings), settings.max_payload_bytes)

    def execute_plugin(
        self,
        plugin: str,
        user: int,
        settings: Mapping[str, Any] | None = None,
        options: Options = DEFAULTS,
    ) -> Dispatched:
        """Run a plugin for a user. Raises as `dispatch`."""
        unique_for_s = options.unique_for_s
        request = PluginRequest(plugin, user, settings or {}, unique_for_s=unique_for_s)
        return self.dispatch(request, options)

    def dispatch(self, request: PluginRequest, options: Options = DEFAULTS) -> Dispatched:
        """Record a run, then publish it. What the request says of uniqueness counts.

        Safe to repeat with the same request, and to be done after RecordsAway. Raises
        RequestInvalid, RunIdTaken, OutboxKeyMissing, RecordsAway and RecordsOutdated, when
        nothing was recorded; PublishFailed and AddressInvalid, when the record failed.
        """
        new = NewRun.of(request, self._sealer, self._max_payload_bytes)
        self.start()
        added = self.store.add(new)
        run = added.run
        if added.what == UNIQUE:
            return Dispatched(UNIQUE, run.plugin_run_id, run.status)
        if not run.is_waiting:
            return Dispatched("known", run.plugin_run_id, run.status)
        if run.publish_failures:
            # The relay is at it.
            return Dispatched("waiting", run.plugin_run_id, run.status, run.last_publish_error)
        return self._publish(run, request, options)

    @property
    def relay(self) -> Relay:
        """What publishes what waits, after `start()`."""
        return self._relay

    def start(self) -> None:
        """Begin to relay what waits from before, unless it goes on already."""
        with self._lock:
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._relay.run_for_ever,
                    args=(self._stop,),
                    name="crewpool-relay",
                    daemon=True,
                )
                self._thread.start()

    def close(self) -> None:
        """End the relay, and close what was opened. What waits is relayed by whoever comes next."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join()
        self._publisher.close()
        self.store.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forget(self) -> None:
        # The thread stayed with the parent, and some other may have held the lock.
        self._lock, self._thread, self._stop = threading.Lock(), None, threading.Event()

    def _publish(self, run: "PluginRun", request: PluginRequest, options: Options) -> Dispatched:
        run_id, give_up_at = run.plugin_run_id, time.monotonic() + options.timeout_s
        request = _as_recorded(run, request)
        pause_s, failure = FIRST_PAUSE_S, ""
        for tries_left in range(max(0, options.retries), -1, -1):
            try:
                placed = self._publisher.place(request)
            except (AddressInvalid, PublishFailed) as error:
                if not error.is_retryable:
                    self.store.fail(run_id, str(error))
                    raise
                failure = error.because if isinstance(error, PublishFailed) else str(error)
            else:
                return self._published(run, is_over=placed.what == "ended")
            if not tries_left or time.monotonic() + pause_s >= give_up_at:
                break
            self._stop.wait(pause_s)
            pause_s = min(pause_s * 4, LONGEST_PAUSE_S)
        with suppress(RecordsAway):
            self.store.note_failure(run_id, failure)
        return Dispatched("waiting", run_id, run.status, failure)

    def _published(self, run: "PluginRun", *, is_over: bool) -> Dispatched:
        """Note that Redis has it. The relay finds out, should this fail."""
        run_id = run.plugin_run_id
        with suppress(RecordsAway, RedisAway, Refused):
            has_ended = bool(self.store.mark_published([run_id]))
            if has_ended:
                self._publisher.cancel(run_id)
                self.store.mark_cancelled(run_id)
            if has_ended or is_over:
                run = self.store.get(run_id) or run
        # Over before it began: a cancel came first.
        return Dispatched("known" if is_over else "published", run_id, run.status)


class _Nowhere:
    """Stands for a publisher where the address of Redis is none, so that the record says so."""

    def __init__(self, error: AddressInvalid) -> None:
        self._error = error

    def place(self, request: PluginRequest) -> NoReturn:
        """Raise AddressInvalid."""
        del request
        raise self._error

    def cancel(self, run_id: str) -> NoReturn:
        """Raise AddressInvalid."""
        del run_id
        raise self._error

    def close(self) -> None:
        """Do nothing: nothing was opened."""


def _as_recorded(run: "PluginRun", request: PluginRequest) -> PluginRequest:
    """Return what is published of a request: its delay has begun, and it may run."""
    at = run.due_at.timestamp() if run.due_at else None
    return replace(request, at=at, delay_s=0.0, unique_for_s=None)


def execute_plugin(
    plugin: str,
    user: int,
    settings: Mapping[str, Any] | None = None,
    options: Options = DEFAULTS,
) -> Dispatched:
    """Run a plugin for a user, with the settings of the environment and of crewpool.toml.

    One dispatcher serves the whole process. Raises as Dispatcher.of and Dispatcher.dispatch.
    """
    return _of_this_process().execute_plugin(plugin, user, settings, options)


@cache
def _of_this_process() -> Dispatcher:
    return Dispatcher.of()
