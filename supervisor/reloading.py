"""Brings workers the newest code of the plugins, as long as it can be used.

Called by the loop, and by whoever asks for a reload. A zygote that is ready is judged here:
with the new one the catalogue changes, and where a plugin that worked does not work any
more, the old one stays, for all of them. Workers are replaced by the pool as they fall idle.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from supervisor.errors import SettingsWrong
from supervisor.phases import Ask
from supervisor.pool.memory import fresh_worker_bytes
from supervisor.pool.spawner import Zygote
from supervisor.settings import Settings
from supervisor.watching import watch_for_ever
from supervisor.wiring import Parts
from worker.plugins import Catalogue, discover
from worker.protocol import ZygoteReady
from worker.sizes import text_of

# Told how a reload ended: whether it did, and in words how.
Listener = Callable[[bool, str], None]


def refusals(
    old: ZygoteReady, usable: Collection[str], new: ZygoteReady, broken: Mapping[str, str]
) -> dict[str, str]:
    """Return the plugins that worked and would not any more, each with the reason.

    `usable` are those whose files were in order with the old code, `broken` those whose files
    are not with the new one. One that never worked, or was taken away, stands in nobody's way.
    """
    worked = {*old.code, *old.lazy} & set(usable)
    failed = {**broken, **new.failed}
    return {name: failed[name] for name in sorted(worked & failed.keys())}


def changes(old: ZygoteReady | None, new: ZygoteReady) -> list[str]:
    """Return the plugins whose code is not what it was, those that came or went included."""
    before = old.code if old else {}
    return sorted({name for name, _ in before.items() ^ new.code.items()})


def limits_below(settings: Settings, floor_bytes: int) -> list[str]:
    """Return a sentence for each setting that allows less memory than a worker begins with."""
    limits = {
        "CREWPOOL_MEMORY_HARD": settings.memory_hard,
        "CREWPOOL_MEMORY_SOFT": settings.memory_soft,
    }
    return [
        f"{name}: {text_of(limit)} is below the {text_of(floor_bytes)} that a worker has before "
        "its first run; allow more, or leave it out"
        for name, limit in limits.items()
        if limit is not None and limit < floor_bytes
    ]


class Reloading:
    """One supervisor's reloads: at most one under way, and at most one more to come."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._coming: Zygote | None = None
        self._is_wanted = False
        self._waiting: list[Listener] = []
        self._listening: list[Listener] = []
        self._told: dict[str, str] = {}
        self._is_first = True

    def read_plugins(self) -> None:
        """Know the plugins before a zygote is there."""
        self._switch(discover(self._parts.settings.plugin_dir))

    def ask(self) -> None:
        """Reload. While a zygote is coming, one more comes after it: it may have read before."""
        self._is_wanted = True

    def watching(self) -> list[Coroutine[Any, Any, None]]:
        """Return the task that asks for a reload when files change, if that is wanted."""

        def changed() -> None:
            self._parts.log.info("plugins_changed")
            self._parts.signals.ask(Ask.RELOAD)

        settings = self._parts.settings
        return [watch_for_ever(settings.plugin_dir, changed)] if settings.watch_plugins else []

    def tell(self, listener: Listener) -> None:
        """Call this when the reload that is asked for next has ended."""
        self._waiting.append(listener)

    def look(self, now: float) -> None:
        """Judge a zygote that is ready, note one that died, begin what was asked for.

        Raises SettingsWrong when no run could ever live within CREWPOOL_MEMORY_HARD.
        """
        spawner = self._parts.pool.spawner
        if self._coming is not None and spawner.coming is not None:
            self._coming = spawner.coming  # perhaps the next try, without a plugin
        if (zygote := spawner.coming) is not None and zygote.word is not None:
            self._judge(zygote, zygote.word)
        elif self._coming is not None and not spawner.is_renewing:
            self._failed({"": self._coming.reason})
        if self._is_wanted and not spawner.is_renewing:
            self._is_wanted = False
            self._listening, self._waiting = self._waiting, []
            self._parts.pool.reload(now)
            self._coming = spawner.coming
            if self._coming is None:
                self._failed({"": spawner.last_reason})

    def _judge(self, zygote: Zygote, word: ZygoteReady) -> None:
        settings, spawner = self._parts.settings, self._parts.pool.spawner
        floor_bytes = fresh_worker_bytes(zygote.pid)
        catalogue = discover(settings.plugin_dir, floor_bytes, self._parts.ledger.catalogue)
        too_small = limits_below(settings, floor_bytes)
        if too_small and self._is_first:
            raise SettingsWrong(too_small)
        old = spawner.current.word if spawner.current else None
        if zygote is self._coming and old is not None:
            usable = self._parts.ledger.catalogue.plugins
            reasons = refusals(old, usable, word, catalogue.broken)
            reasons |= {"": "; ".join(too_small)} if too_small else {}
            if reasons:
                spawner.refuse(zygote, "; ".join(reasons.values()))
                self._failed(reasons)
                return
        self._accept(zygote, word, catalogue, changes(old, word))

    def _accept(
        self, zygote: Zygote, word: ZygoteReady, catalogue: Catalogue, changed: list[str]
    ) -> None:
        self._is_first = False
        self._parts.pool.spawner.accept(zygote)
        self._switch(catalogue)
        log = self._parts.log
        log.info("zygote_ready", pid=zygote.pid, modules=word.modules, import_s=word.import_s)
        for plugin, reason in {**word.lazy, **word.failed}.items():
            log.warning("plugin_not_preloaded", plugin=plugin, reason=reason)
        self._parts.metrics.set_imports_failed(word.failed)
        self._parts.snapshots.import_failed = dict(word.failed)
        self._parts.heartbeat.soon()
        if zygote is self._coming:
            log.info("reloaded", changed=",".join(changed) or "none")
            self._end(ok=True, text=f"reloaded, changed: {', '.join(changed) or 'nothing'}")
        self._show({})

    def _failed(self, reasons: Mapping[str, str]) -> None:
        for plugin, reason in reasons.items():
            self._parts.log.error("reload_failed", plugin=plugin or None, reason=reason)
        self._show(reasons)
        told = "; ".join(f"{name}: {why}" if name else why for name, why in reasons.items())
        self._end(ok=False, text=f"the old code stays: {told}")

    def _end(self, *, ok: bool, text: str) -> None:
        self._coming = None
        for listener in self._listening:
            listener(ok, text)
        self._listening = []

    def _show(self, reasons: Mapping[str, str]) -> None:
        """Keep it in sight until a reload succeeds."""
        self._parts.metrics.set_reload_failed(failed=bool(reasons))
        if self._parts.snapshots.reload_failed != reasons:
            self._parts.snapshots.reload_failed = dict(reasons)
            self._parts.heartbeat.soon()

    def _switch(self, catalogue: Catalogue) -> None:
        for name, reason in catalogue.broken.items():
            if self._told.get(name) != reason:
                self._parts.log.error("plugin_broken", plugin=name, reason=reason)
        self._told = dict(catalogue.broken)
        self._parts.ledger.catalogue = catalogue
        self._parts.metrics.know(catalogue.plugins)
