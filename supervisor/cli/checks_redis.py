"""The doctor's look at Redis: version, eviction, durability, names, permissions, streams.

Called by doctor.py. It asks, and changes nothing.
"""

import time

from supervisor.addresses import without_password
from supervisor.cli.findings import Finding, good, problem, warning
from supervisor.errors import RedisAway, RedisTooOld
from supervisor.settings import Settings
from supervisor.streams import inspect
from supervisor.streams.queue import Queue
from supervisor.streams.server import NamesNeedOneSlot, ServerFacts, check_server

ALIVE_S = 10.0
NOEVICTION = "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf"
APPENDONLY = "redis-cli CONFIG SET appendonly yes, and in redis.conf"


async def of_redis(queue: Queue, settings: Settings) -> list[Finding]:
    """Look at the server and at what stands in it for us."""
    url = without_password(settings.redis_url.get_secret_value())
    try:
        return [
            *await _server(queue, url),
            *await _permissions(queue),
            *await _streams(queue),
            *await _supervisors(queue),
        ]
    except RedisAway as away:
        cure = "start it, mend REDIS_URL (password, host, port), or use crewpool up"
        return [problem("redis", f"{away}", cure)]
    except inspect.Refused as refused:
        cure = "give the user of REDIS_URL the permissions of deploy/redis/users.acl"
        return [problem("redis", str(refused), cure)]


async def _server(queue: Queue, url: str) -> list[Finding]:
    facts = await inspect.server(queue)
    found = [good("redis", f"{facts.name} {facts.version} at {url}")]
    try:
        await check_server(queue)
    except RedisTooOld as error:
        found = [problem("redis", str(error), "upgrade the server at REDIS_URL")]
    except NamesNeedOneSlot as error:
        found.append(problem("redis", str(error), "set the three variables"))
    return [*found, *_memory(facts), *_durability(facts)]


def _memory(facts: ServerFacts) -> list[Finding]:
    if facts.eviction_policy == "noeviction":
        return [good("redis", "maxmemory-policy is noeviction")]
    told = f"maxmemory-policy is {facts.eviction_policy}: short of memory, it throws runs away"
    return [problem("redis", told, NOEVICTION)]


def _durability(facts: ServerFacts) -> list[Finding]:
    if facts.has_aof:
        return [good("redis", "the append-only file is on")]
    told = "The append-only file is off: a crash of Redis loses runs and results"
    return [warning("redis", told, APPENDONLY)]


async def _permissions(queue: Queue) -> list[Finding]:
    if denied := await inspect.denied(queue):
        told = f"The user of REDIS_URL may not: {', '.join(denied)}"
        return [problem("redis", told, "give it the permissions of deploy/redis/users.acl")]
    return [good("redis", "all commands are permitted")]


async def _streams(queue: Queue) -> list[Finding]:
    seen = await inspect.streams(queue)
    there = [stream for stream in seen if stream.pending is not None]
    missing = [stream.stream for stream in seen if stream.pending is None]
    found = [
        good("streams", f"{s.stream}: {s.length} entries, {s.pending} pending in {s.group}")
        for s in there
    ]
    if missing:
        told = f"{', '.join(missing)}: made with their groups when a supervisor starts"
        found.append(good("streams", told))
    return found


async def _supervisors(queue: Queue) -> list[Finding]:
    seen = await inspect.hosts(queue, since=time.time() - ALIVE_S)
    alive = [host.host for host in seen if host.snapshot]
    return [good("running", f"supervisors alive here: {', '.join(alive) or 'none'}")]
