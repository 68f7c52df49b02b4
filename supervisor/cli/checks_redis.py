"""The doctor's look at Redis: version, eviction, durability, names, permissions, streams.

Called by doctor.py. It asks, and changes nothing.
"""

import time

from supervisor.addresses import is_encrypted, without_password
from supervisor.cli.findings import Finding, good, problem, warning
from supervisor.errors import RedisAway, RedisTooOld
from supervisor.settings import Settings
from supervisor.streams import inspect, permissions
from supervisor.streams.connection import where
from supervisor.streams.queue import Queue
from supervisor.streams.server import (
    NamesNeedOneSlot,
    ServerFacts,
    check_server,
    replicas_to_write,
)

ALIVE_S = 10.0
NOEVICTION = "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf"
MIN_REPLICAS = "redis-cli CONFIG SET min-replicas-to-write 1, and in redis.conf; docs/servers.md"
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
        return [problem("redis", f"{away}", _cure(away, url))]
    except inspect.Refused as refused:
        cure = "give the user of REDIS_URL the permissions of deploy/redis/users.acl"
        return [problem("redis", str(refused), cure)]


def _cure(away: RedisAway, url: str) -> str:
    """Say what to do about a server that is not there, by what it said last."""
    if "CERTIFICATE_VERIFY_FAILED" in away.cause:
        return (
            "CREWPOOL_REDIS_CA_FILE names who signed the server's certificate, and that "
            "certificate names the host of REDIS_URL"
        )
    if "+sentinel://" in url:
        return (
            "start the sentinels or a primary, or mend REDIS_URL (hosts, service, passwords; "
            "that of the sentinels is ?sentinel_password=)"
        )
    if "+cluster://" in url:
        return "start the cluster, or mend REDIS_URL (password, hosts; name several nodes)"
    if is_encrypted(url):
        return (
            "start it, mend REDIS_URL (password, host, port), and look whether it speaks TLS "
            "there and wants a certificate of ours (CREWPOOL_REDIS_CERT_FILE)"
        )
    return "start it, mend REDIS_URL (password, host, port), or use crewpool up"


async def _server(queue: Queue, url: str) -> list[Finding]:
    facts = await inspect.server(queue)
    found = [good("redis", f"{facts.name} {facts.version} at {url}"), *_encryption(url)]
    try:
        await check_server(queue)
    except RedisTooOld as error:
        found = [problem("redis", str(error), "upgrade the server at REDIS_URL")]
    except NamesNeedOneSlot as error:
        found.append(problem("redis", str(error), "set all of the variables"))
    else:
        found += await _place(queue, facts, url)
    return [*found, *_memory(facts), *_durability(facts)]


def _encryption(url: str) -> list[Finding]:
    if not is_encrypted(url):
        return []
    if "ssl_cert_reqs=none" in url or "ssl_cert_reqs=optional" in url:
        told = "The connection is encrypted, and to whom is not checked"
        return [warning("redis", told, "take ssl_cert_reqs out of REDIS_URL")]
    return [good("redis", "the connection is encrypted, and the server's certificate checked")]


async def _place(queue: Queue, facts: ServerFacts, url: str) -> list[Finding]:
    """Say which of several servers it is, and what would be lost with it."""
    if facts.is_cluster:
        found = [good("redis", f"all names lie in one slot, held by {where(queue.client)}")]
    elif "+sentinel://" in url:
        found = [good("redis", f"the primary is {where(queue.client)}")]
    else:
        return []
    if not facts.replicas:
        told = "The primary has no replica: when it dies, nothing takes its place"
        return [*found, warning("redis", told, "add a replica")]
    # With a single one, its failover would leave a primary that may not write at all.
    if facts.replicas > 1 and await replicas_to_write(queue) == 0:
        told = "The primary takes writes without its replicas: a failover may lose some"
        return [*found, warning("redis", told, MIN_REPLICAS)]
    return [*found, good("redis", f"replicas that are connected: {facts.replicas}")]


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
    if denied := await permissions.denied(queue):
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
