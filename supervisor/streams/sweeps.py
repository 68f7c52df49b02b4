"""What any supervisor does for all of them: reclaim lapsed runs, forget dead consumers, trim
what is over, find what was lost.

Called by the keeper only. Each step is a page; the next sweep goes on where this one ended.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from supervisor.streams.connection import answering
from supervisor.streams.queue import EXCERPT_BYTES, Queue, ms
from supervisor.streams.script_loader import decoded
from supervisor.streams.wire import Entry

PAGE = 50
# Older than this, a reclaim was written to a server that did not answer then.
RECLAIM_WITHIN_S = 2
# A consumer of another program that read nothing for this many leases is gone.
STALE_LEASES = 20
# The most losses of a stream that tidy.lua finds in a call.
TIDY_PAGE = 200


@dataclass(frozen=True)
class Lost:
    """A run whose entry is gone: somebody cut it off its stream, or removed it.

    `run_id` is "" where nobody knows it; `consumer` is who had it, "" when nobody had.
    """

    stream: str
    id: str
    run_id: str = ""
    plugin: str = ""
    consumer: str = ""


@dataclass
class Page:
    """One answer of a sweep: where to go on, what lapsed, what is lost."""

    cursors: list[str]
    entries: list[Entry] = field(default_factory=list)
    trimmed: list[Lost] = field(default_factory=list)


async def is_anything_held(queue: Queue) -> bool:
    """Whether any run of ours is in hand anywhere. One cheap command, for the idle."""
    async with answering(queue.client):
        return bool(await queue.client.hlen(queue.keys.holding))


async def server_time(queue: Queue) -> float:
    """Return the server's unix time."""
    async with answering(queue.client):
        seconds, micros = await queue.client.time()
    return float(seconds) + micros / 1_000_000


async def reclaim(
    queue: Queue,
    sweeper: str,
    lease_s: float,
    cursors: Sequence[str],
    began_at: float | None = None,
) -> Page:
    """Claim one page of lapsed entries a stream; start with cursors of "0-0".

    `began_at` is the server's time at the beginning of the sweep; it is asked for when not given.
    """
    if began_at is None:
        began_at = await server_time(queue)
    words = [queue.keys.group, sweeper, ms(lease_s), str(PAGE)]
    words += [str(queue.limits.max_payload_bytes), str(EXCERPT_BYTES)]
    words += [ms(began_at + RECLAIM_WITHIN_S), *cursors]
    answer = await queue.call("reclaim", (), words)
    entries = [queue.entry(found, owner) for found, owner in answer[1]]
    return Page(answer[0], entries, [Lost(*facts) for facts in answer[2]])


async def forget(queue: Queue, names: Iterable[str]) -> int:
    """Delete these consumers where nothing is pending under them."""
    return int(await queue.call("forget", (), [queue.keys.group, "named", "0", "0", *names]))


async def forget_dead(queue: Queue, living: Collection[str], lease_s: float) -> int:
    """Delete the consumers of hosts that do not live; those of other programs much later."""
    words = [queue.keys.group, "dead", ms(lease_s), ms(lease_s * STALE_LEASES), *living]
    return int(await queue.call("forget", (), words))


async def living_hosts(queue: Queue) -> set[str]:
    """Return the supervisors whose heartbeats have not run out."""
    keys, client = queue.keys, queue.client
    async with answering(client):
        hosts = decoded(await client.zrange(keys.hosts, 0, -1))
        pipeline = client.pipeline(transaction=False)
        for host in hosts:
            # Anybody may have written anything there, also what is no UTF-8.
            pipeline.exists(keys.host(host).encode("utf-8", "surrogateescape"))
        beats = await pipeline.execute() if hosts else []
    return {host for host, is_there in zip(hosts, beats, strict=True) if is_there}


async def tidy(queue: Queue) -> tuple[int, list[Lost]]:
    """Trim what nobody needs; return how many entries that were, and the runs that are lost."""
    limits = queue.limits
    marks_s = max(limits.done_ttl_s, limits.record_ttl_s)
    words = [queue.keys.group, ms(limits.retention_s), ms(limits.dead_letters_ttl_s)]
    answer = await queue.call("tidy", (queue.keys.dead_letters,), [*words, ms(marks_s)])
    return int(answer[0]), [Lost(*facts) for facts in answer[1]]


async def unique_of(queue: Queue, run_id: str) -> str:
    """Return the digest that a run alone may have, from its record; "" for most."""
    async with answering(queue.client):
        return str(decoded(await queue.client.hget(queue.keys.record(run_id), "unique")) or "")
