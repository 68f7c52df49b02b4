"""Keeps our leases, sweeps up those of others that lapsed, and tidies the streams.

One task, and in this order: connect, renew, then let the others go on; renew before each
sweep, so that a supervisor which was stopped for a while never reclaims its own runs.
While nobody has anything in hand it asks one cheap question a sweep.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams import sweeps
from supervisor.streams.broker import Broker
from supervisor.streams.endings import Bury, Ending, gone
from supervisor.streams.facts import Buried, PluginChanged
from supervisor.streams.gauges import Gauges
from supervisor.streams.link import Link
from supervisor.streams.queue import Lease, Passed, Queue
from supervisor.streams.server import check_server
from supervisor.streams.wire import Entry

PROBE_S = 0.25
RETRY_S = 0.5
# While nobody has anything in hand, lapsed entries of other programs are looked for, and
# figures, this much less often than in every sweep.
QUIET_SWEEPS = 30
# Trimming and looking for losses, in sweeps, and while it is quiet.
TIDY_SWEEPS = 30
QUIET_TIDY_SWEEPS = 60
MOST_TIDY_PAGES = 100


@dataclass(frozen=True)
class Rhythm:
    """How long a lease lasts, and how often it is renewed and others' are looked for."""

    lease_s: float
    renew_every_s: float
    sweep_every_s: float


@dataclass(frozen=True)
class Sweeper:
    """Who sweeps: the host's name, its consumer for it, and its judgement on what lapsed."""

    host: str
    consumer: str
    judge: Callable[[Entry], Ending]


class Keeper:
    """The keeping task of one supervisor."""

    def __init__(
        self, queue: Queue, broker: Broker, rhythm: Rhythm, sweeper: Sweeper, log: Log
    ) -> None:
        self.gauges = Gauges()
        self.reclaimed = 0
        self.trimmed = 0
        self.came_round_at = time.monotonic()
        self._queue = queue
        self._broker = broker
        self._rhythm = rhythm
        self._sweeper = sweeper
        self._log = log
        self._may_reclaim_at = 0.0
        self._round_at = 0.0
        self._rounded_at = 0.0
        self._renewed_at = 0.0
        self._ahead_s: float | None = None
        self._look_at = 0.0
        self._sweep_at = 0.0
        self._tidy_at = 0.0

    @property
    def _link(self) -> Link:
        return self._broker.link

    async def keep_for_ever(self) -> None:
        """Renew and sweep until cancelled. Raises only what no waiting can mend."""
        while True:
            self.came_round_at = time.monotonic()
            try:
                if not self._link.is_up:
                    await self._connect()
                await self._renew_if_due()
                if time.monotonic() >= self._round_at:
                    self._rounded_at = time.monotonic()
                    self._round_at = self._rounded_at + await self._round()
            except RedisAway as error:
                self._link.note_down(error)
            except RedisError as error:
                self._link.note_refused("keep", error)
                await asyncio.sleep(RETRY_S)
            if self._link.is_up:
                if await self._link.wait_while_up(self._pause_s()):
                    self._round_at = min(
                        self._round_at, self._rounded_at + self._rhythm.sweep_every_s
                    )
            else:
                await asyncio.sleep(PROBE_S)

    def _pause_s(self) -> float:
        # Also without leases: one may be taken in the next moment.
        due = min(self._round_at, self._renewed_at + self._rhythm.renew_every_s)
        return max(due - time.monotonic(), 0.01)

    async def _connect(self) -> None:
        """Come back after an outage: renew first, and reclaim nothing for one lease.

        Idle time ran on while Redis was down (trap R10): every lease looks lapsed, and the
        owners are reconnecting just as we are.
        """
        # Connections that died with the server would each report one more outage.
        await self._queue.disconnect()
        await check_server(self._queue)
        await self._queue.ping_doorbell()
        await self._queue.ensure_groups()
        await self._renew()
        self._may_reclaim_at = time.monotonic() + self._rhythm.lease_s
        self._look_at = self._sweep_at = 0.0
        self._link.note_up()

    async def _renew_if_due(self) -> None:
        if time.monotonic() >= self._renewed_at + self._rhythm.renew_every_s:
            await self._renew()

    async def _renew(self) -> None:
        held = dict(self._broker.leases)
        answers = await self._queue.renew([lease for lease in held.values() if lease.is_fenced])
        fenced = [slot for slot, lease in held.items() if lease.is_fenced]
        self._renewed_at = time.monotonic()
        for slot, answer in zip(fenced, answers, strict=True):
            if self._broker.leases.get(slot) != held[slot]:
                continue  # ended while we asked
            if answer == "lost":
                self._broker.lose(slot)
            elif answer == "trimmed":
                self._broker.leases[slot] = replace(held[slot], is_fenced=False)
                self._broker.tell_trimmed((held[slot].id,))

    async def _round(self) -> float:
        """Do what is due; return how long the next round can wait.

        A run that somebody takes now lapses in a lease at the earliest: while nothing is in
        hand, three looks in a lease find it in time. Tidying comes first: it makes room in a
        server that refuses the rest for want of memory.
        """
        now, every_s = time.monotonic(), self._rhythm.sweep_every_s
        is_busy = await sweeps.is_anything_held(self._queue) or self.gauges.is_anything_waiting
        may_reclaim = now >= self._may_reclaim_at
        if may_reclaim and now >= self._tidy_at:
            self._tidy_at = now + (TIDY_SWEEPS if is_busy else QUIET_TIDY_SWEEPS) * every_s
            await self._tidy()
        if is_busy or now >= self._look_at:
            self._look_at = now + QUIET_SWEEPS * every_s
            await self._look()
        # Entries that other programs took and let lapse are held by nobody of ours.
        if may_reclaim and (is_busy or now >= self._sweep_at):
            await self._renew()
            await self._sweep()
            self._sweep_at = now + QUIET_SWEEPS * every_s
        return every_s if is_busy else max(every_s, self._rhythm.lease_s / 3)

    async def _look(self) -> None:
        """Refresh the figures, and tell which plugins somebody paused or let go on."""
        before = self.gauges.plugins
        await self.gauges.refresh(self._queue)
        after = self.gauges.plugins
        for plugin in sorted({*before, *after}):
            was, state = before.get(plugin, "running"), after.get(plugin, "running")
            if was != state:
                self._broker.tell(PluginChanged(plugin, state, was))

    async def _sweep(self) -> None:
        asked_at = time.monotonic()
        began_at = await sweeps.server_time(self._queue)
        if self._has_jumped(began_at, asked_at):
            # All leases look lapsed now, as after an outage (trap R10).
            self._may_reclaim_at = time.monotonic() + self._rhythm.lease_s
            return
        cursors = ["0-0"] * len(self._queue.keys.streams)
        owners: set[str] = set()
        consumer, lease_s = self._sweeper.consumer, self._rhythm.lease_s
        while any(cursors):
            self._broker.consumers_used.add(consumer)
            page = await sweeps.reclaim(self._queue, consumer, lease_s, cursors, began_at)
            await self._end_all(page)
            self.came_round_at = time.monotonic()
            cursors = page.cursors
            owners |= {entry.owner for entry in page.entries}
        if owners:
            # Whoever lost these is gone with its other consumers, most likely.
            await self._forget_dead()

    def _has_jumped(self, server_at: float, asked_at: float) -> bool:
        """Whether the server's clock went another way than ours since the last sweep.

        It was asked between `asked_at` and now, nobody knows when.
        """
        slow_s = time.monotonic() - asked_at
        ahead_s, before_s = server_at - asked_at, self._ahead_s
        self._ahead_s = ahead_s
        # A jump by less than this makes no lease lapse that is renewed in time.
        harmless_s = (self._rhythm.lease_s - self._rhythm.renew_every_s) / 2 + slow_s
        if before_s is None or abs(ahead_s - before_s) < harmless_s:
            return False
        self._log.warning("clock_jumped", by_s=ahead_s - before_s, hint="of the Redis server")
        return True

    async def _end_all(self, page: sweeps.Page) -> None:
        if page.trimmed:
            # Our own are told already, by the renewal that found them gone.
            ours = {lease.id for lease in self._broker.leases.values() if not lease.is_fenced}
            if ids := tuple(lost.id for lost in page.trimmed if lost.id not in ours):
                self._broker.tell_trimmed(ids)
            await self._answer(page.trimmed)
        for entry in page.entries:
            ending = self._sweeper.judge(entry)
            try:
                how = await self._broker.end(Lease.of(entry, self._sweeper.consumer), ending)
            except RedisError as error:
                # The others of the page first; this one lapses once more.
                self._link.note_refused("reclaim", error)
                continue
            # Where another host was quicker, it counts what it did.
            if how != "lost":
                self.reclaimed += 1
                if isinstance(ending, Bury):
                    self._broker.tell(Buried(ending.letter.facts["reason"]))
            self._log.warning(
                "run_reclaimed", run=ending.run_id, entry=entry.id, owner=entry.owner, how=how
            )

    async def _tidy(self) -> None:
        for _ in range(MOST_TIDY_PAGES):
            trimmed, lost = await sweeps.tidy(self._queue)
            self.trimmed += trimmed
            answered = await self._answer(lost)
            self.came_round_at = time.monotonic()
            # Whoever cut off one entry cut off many.
            if answered < sweeps.TIDY_PAGE:
                break
        await self._forget_dead()

    async def _forget_dead(self) -> None:
        living = await sweeps.living_hosts(self._queue) | {self._sweeper.host}
        await sweeps.forget_dead(self._queue, living, self._rhythm.lease_s)

    async def _answer(self, losses: list[sweeps.Lost]) -> int:
        """Give lost runs their result: nobody else ever will. Returns how many got one.

        Not those of a living host: the crew may be running, and its result is the better one.
        """
        answered = 0
        known = [lost for lost in losses if lost.run_id]
        living = await sweeps.living_hosts(self._queue) if known else set()
        ours = {(lease.stream, lease.id) for lease in self._broker.leases.values()}
        for lost in known:
            host = lost.consumer.rpartition(".")[0]
            is_ours = host == self._sweeper.host
            is_in_work = (lost.stream, lost.id) in ours if is_ours else host in living
            if is_in_work:
                continue
            unique = await sweeps.unique_of(self._queue, lost.run_id)
            lease = Lease(
                lost.stream, lost.id, self._sweeper.consumer, is_fenced=False, unique=unique
            )
            how = await self._broker.end(lease, gone(lost.run_id))
            self._broker.tell(Passed("gone", lost.run_id, lost.plugin, how))
            answered += 1
        return answered
