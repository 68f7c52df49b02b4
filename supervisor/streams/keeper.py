"""Keeps our leases and sweeps up those of others that lapsed.

One task, and in this order: connect, renew, then let the others go on; renew before each
sweep, so that a supervisor which was stopped for a while never reclaims its own runs.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams.broker import Broker
from supervisor.streams.endings import Ending
from supervisor.streams.gauges import Gauges
from supervisor.streams.link import Link
from supervisor.streams.queue import STALE_LEASES, Lease, Page, Queue
from supervisor.streams.server import check_server
from supervisor.streams.wire import Entry

PROBE_S = 0.25
RETRY_S = 0.5


@dataclass(frozen=True)
class Rhythm:
    """How long a lease lasts, and how often it is renewed and others' are looked for."""

    lease_s: float
    renew_every_s: float
    sweep_every_s: float


class Keeper:
    """The keeping task of one supervisor."""

    def __init__(
        self,
        queue: Queue,
        broker: Broker,
        rhythm: Rhythm,
        sweeper: str,
        judge: Callable[[Entry], Ending],
        log: Log,
    ) -> None:
        self.gauges = Gauges()
        self.reclaimed = 0
        self._queue = queue
        self._broker = broker
        self._rhythm = rhythm
        self._sweeper = sweeper
        self._judge = judge
        self._log = log
        self._may_sweep_at = 0.0
        self._renewed_at = 0.0

    @property
    def _link(self) -> Link:
        return self._broker.link

    async def keep_for_ever(self) -> None:
        """Renew and sweep until cancelled. Raises only what no waiting can mend."""
        while True:
            try:
                if not self._link.is_up:
                    await self._connect()
                await self._renew_if_due()
                if time.monotonic() >= self._may_sweep_at:
                    await self._renew()
                    await self._sweep()
                    await self.gauges.refresh(self._queue)
                    self._may_sweep_at = time.monotonic() + self._rhythm.sweep_every_s
            except RedisAway as error:
                self._link.note_down(error)
            except RedisError as error:
                self._link.note_refused("keep", error)
                await asyncio.sleep(RETRY_S)
            if self._link.is_up:
                await self._link.wait_while_up(self._pause_s())
            else:
                await asyncio.sleep(PROBE_S)

    def _pause_s(self) -> float:
        due = min(self._may_sweep_at, self._renewed_at + self._rhythm.renew_every_s)
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
        self._may_sweep_at = time.monotonic() + self._rhythm.lease_s
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

    async def _sweep(self) -> None:
        cursors = ["0-0"] * len(self._queue.keys.request_streams)
        while any(cursors):
            self._broker.consumers_used.add(self._sweeper)
            page = await self._queue.reclaim(self._sweeper, self._rhythm.lease_s, cursors)
            await self._end_all(page)
            cursors = page.cursors
        await self._queue.forget(idle_s=self._rhythm.lease_s * STALE_LEASES)

    async def _end_all(self, page: Page) -> None:
        if page.trimmed:
            self._broker.tell_trimmed(tuple(lost.id for lost in page.trimmed))
        for entry in page.entries:
            ending = self._judge(entry)
            lease = Lease(entry.stream, entry.id, self._sweeper)
            how = await self._broker.end(lease, ending)
            self.reclaimed += 1
            self._log.warning(
                "run_reclaimed", run=ending.run_id, entry=entry.id, owner=entry.owner, how=how
            )
