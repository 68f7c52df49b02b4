"""Makes the parts of a supervisor from its settings. The only place that knows them all."""

import secrets
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.admission import Admission
from supervisor.errors import SecretUnreadable
from supervisor.journal import Journal
from supervisor.judging import Judge
from supervisor.ledger import Ledger
from supervisor.limits import memory_limits
from supervisor.log import Log
from supervisor.observe.http import HttpServer
from supervisor.observe.metrics import Metrics
from supervisor.pool.cgroups import Cgroups, choose_folder
from supervisor.pool.environment import Environment
from supervisor.pool.handle import Handle
from supervisor.pool.identity import identity_of
from supervisor.pool.overuse import MemoryLimits, Overuse
from supervisor.pool.placing import Placing
from supervisor.pool.plan import ZygotePlan
from supervisor.pool.pool import Pool
from supervisor.pool.readers import Readers
from supervisor.pool.recycling import Limits, Recycling
from supervisor.pool.spawner import Spawner
from supervisor.room import Marks
from supervisor.settings import Settings
from supervisor.signals import Signals
from supervisor.snapshot import Snapshots
from supervisor.standing import Standing
from supervisor.storage import Storage
from supervisor.streams.broker import Broker
from supervisor.streams.control import Control
from supervisor.streams.deployment import queue_of
from supervisor.streams.heartbeat import Heartbeat, free_boot
from supervisor.streams.keeper import Keeper, Rhythm, Sweeper
from supervisor.streams.keys import consumer_of
from supervisor.streams.link import Link
from supervisor.streams.queue import Queue
from supervisor.streams.records import Records
from supervisor.wakeups import Wakeups


@dataclass
class Ground:
    """What all other parts stand on."""

    settings: Settings
    host: str
    queue: Queue
    name_of: Callable[[str | int], str]
    log: Log
    clock: Callable[[], float]
    wakeups: Wakeups
    signals: Signals
    metrics: Metrics


@dataclass
class Streams(Ground):
    """And what speaks to Redis."""

    link: Link
    records: Records
    broker: Broker
    heartbeat: Heartbeat
    control: Control


@dataclass
class Parts(Streams):
    """What a supervisor is made of."""

    storage: Storage
    readers: Readers
    pool: Pool
    keeper: Keeper
    ledger: Ledger
    overuse: Overuse
    admission: Admission
    journal: Journal
    http: HttpServer
    snapshots: Snapshots

    def snapshot(self, standing: Standing) -> dict[str, Any]:
        """Return what is going on now."""
        self.snapshots.memory = self.admission.facts(self.clock())
        return self.snapshots.take(standing, self.pool.handles, self.clock())


async def wire(settings: Settings, environ: Mapping[str, str], companions: set[int]) -> Parts:
    """Return the parts, connected but not started. `companions` are children to be left alone;
    whoever starts one later adds it.

    Signals are noted from the first moment on; whoever runs the loop hears of them.
    """
    streams = _streams(await _ground(settings))
    log, judge = streams.log, Judge(settings)
    journal = Journal(log, streams.metrics, streams.records, streams.host)
    environment = _environment(settings, environ, log)
    journal.hide(environment.secrets)
    judge.environment_secrets = environment.secrets
    ledger = Ledger(streams.broker, journal, judge, environment, settings)
    identity = identity_of(settings.worker_user)
    storage = Storage(settings.storage_dir or Path(tempfile.gettempdir()), identity)
    readers = _readers(streams.wakeups, journal, ledger, companions)
    pool = _pool(streams, environment, storage, readers)

    def limits_of(plugin: str) -> MemoryLimits:
        return memory_limits(ledger.catalogue, settings, plugin)

    marks = Marks(settings.memory_mark, settings.memory_stall)
    return Parts(
        **vars(streams),
        storage=storage,
        readers=readers,
        pool=pool,
        keeper=_keeper(streams, judge),
        ledger=ledger,
        overuse=Overuse(limits_of),
        admission=Admission(marks, pool.handles, ledger, limits_of, log),
        journal=journal,
        http=HttpServer(),
        snapshots=Snapshots(streams.host),
    )


async def _ground(settings: Settings) -> Ground:
    clock = time.monotonic
    wakeups = Wakeups(clock)
    signals = Signals(wakeups.ring)
    signals.install()
    queue = queue_of(settings)
    boot = await free_boot(queue, settings.host_name)
    return Ground(
        settings=settings,
        host=f"{settings.host_name}-{boot}",
        queue=queue,
        name_of=partial(consumer_of, settings.host_name, boot),
        log=Log(),
        clock=clock,
        wakeups=wakeups,
        signals=signals,
        metrics=Metrics(),
    )


def _streams(ground: Ground) -> Streams:
    settings, queue, host, log = ground.settings, ground.queue, ground.host, ground.log
    ring = ground.wakeups.ring
    link = Link(ground.clock, ring, log)
    records = Records(queue, link, settings.record_ttl_s)
    return Streams(
        **vars(ground),
        link=link,
        records=records,
        broker=Broker(queue, link, records, ground.name_of, ring, log),
        heartbeat=Heartbeat(queue, link, host, settings.heartbeat_every_s),
        control=Control(queue, settings.redis_address, link, host, ring, log),
    )


def _pool(streams: Streams, environment: Environment, storage: Storage, readers: Readers) -> Pool:
    settings = streams.settings
    identity = identity_of(settings.worker_user)
    cgroups = Cgroups(choose_folder(), identity.uid if identity else None)
    plan = ZygotePlan.of(settings, environment.of_zygote, storage.path)
    plan = replace(plan, cgroup=str(cgroups.folder or ""))
    recycling = Recycling(Limits(settings.max_runs_per_worker, settings.max_worker_age_s))
    pool = Pool(
        Spawner(plan, cgroups),
        readers,
        streams.clock,
        settings.boot_timeout_s,
        recycling,
        streams.log,
    )
    placing = Placing(settings.worker_nice, by_slot=settings.worker_affinity == "core")
    pool.answers.at_claim += [placing.place, cgroups.place]
    return pool


def _keeper(streams: Streams, judge: Judge) -> Keeper:
    settings = streams.settings
    rhythm = Rhythm(settings.lease_s, settings.renew_every_s, settings.sweep_every_s)
    sweeper = Sweeper(streams.host, streams.name_of("sweep"), judge.of_lapsed)
    return Keeper(streams.queue, streams.broker, rhythm, sweeper, streams.log)


def _readers(wakeups: Wakeups, journal: Journal, ledger: Ledger, companions: set[int]) -> Readers:
    def said(handle: Handle, line: str) -> None:
        journal.crew_said(handle, ledger.in_hand.get(handle.slot), line)

    readers = Readers(wakeups.ring, said, time.monotonic)
    readers.companions = companions
    return readers


def _environment(settings: Settings, environ: Mapping[str, str], log: Log) -> Environment:
    def complain(error: SecretUnreadable) -> None:
        log.error("secret_unreadable", variable=error.variable, reason=error.reason)

    url = settings.redis_url.get_secret_value()
    return Environment(environ, settings.worker_env, url, secrets.token_hex(16), complain)
