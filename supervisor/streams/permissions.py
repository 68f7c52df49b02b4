"""Which commands the server permits us: asked for by `crewpool doctor`, before a run needs one."""

from redis.exceptions import NoPermissionError, ResponseError

from supervisor.streams.connection import answering
from supervisor.streams.inspect import FIRST
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Queue

Words = tuple[str | int, ...]


async def denied(queue: Queue) -> list[str]:
    """Try each command that a supervisor needs; return what the server says no to.

    Permissions are checked before a command looks at its key, so a key that is not there
    tells as much as one that is, and nothing is changed.
    """
    refusals = []
    for words in harmless(queue.keys):
        try:
            async with answering(queue.client):
                await queue.client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py
        except ResponseError as error:
            # Every other error (no such key, NOGROUP) comes after the permission.
            if isinstance(error, NoPermissionError) or "ACL failure in script" in str(error):
                refusals.append(" ".join(map(str, words[:2])))
    return refusals


def harmless(keys: Keys) -> list[Words]:
    """Return every command of the supervisor and of its scripts in a form that leaves nothing."""
    probe, group = keys.record("crewpool-doctor"), keys.group
    all_keys = [*keys.world, keys.dead_letters, probe, keys.hosts]
    all_keys += [keys.done("crewpool-doctor"), keys.host("crewpool-doctor")]
    # XACK writes, so it asks for the permission to write; 0-0 is never pending.
    acks: list[Words] = [
        ("XACK", stream, group, FIRST)
        for stream in (*keys.request_streams, keys.results, keys.dead_letters)
    ]
    return [
        *acks,
        ("EVAL", "return 'on all names'", len(all_keys), *all_keys),
        ("EVALSHA", "0" * 40, 0),
        ("SCRIPT", "LOAD", "return 1"),
        ("INFO", "server"),
        ("TIME",),
        *_on_streams(probe, group),
        *_on_other_keys(probe, keys.hosts),
    ]


def _on_streams(probe: str, group: str) -> list[Words]:
    return [
        ("XADD", probe, "NOMKSTREAM", "*", "probe", "1"),
        ("XREADGROUP", "GROUP", group, "doctor", "STREAMS", probe, ">"),
        ("XREAD", "COUNT", 1, "STREAMS", probe, FIRST),
        ("XCLAIM", probe, group, "doctor", 0, FIRST, "JUSTID"),
        ("XAUTOCLAIM", probe, group, "doctor", 0, FIRST),
        ("XPENDING", probe, group),
        ("XRANGE", probe, "-", "+"),
        ("XREVRANGE", probe, "+", "-"),
        ("XLEN", probe),
        ("XDEL", probe, FIRST),
        ("XTRIM", probe, "MINID", "0"),
        ("XINFO", "STREAM", probe),
        ("XINFO", "GROUPS", probe),
        ("XINFO", "CONSUMERS", probe, group),
        ("XGROUP", "CREATE", probe, group, "0"),
        ("XGROUP", "DELCONSUMER", probe, group, "doctor"),
        ("XGROUP", "SETID", probe, group, "0"),
    ]


def _on_other_keys(probe: str, hosts: str) -> list[Words]:
    return [
        ("SET", probe, "1", "XX", "EX", 1),
        ("GET", probe),
        ("EXISTS", probe),
        ("HSET", probe, "probe", "1"),
        ("HINCRBY", probe, "count", 1),
        ("HGET", probe, "probe"),
        ("HMGET", probe, "probe"),
        ("HGETALL", probe),
        ("HKEYS", probe),
        ("HVALS", probe),
        ("HLEN", probe),
        ("HEXISTS", probe, "probe"),
        ("HRANDFIELD", probe),
        ("HDEL", probe, "count"),
        ("EXPIRE", probe, 1),
        ("DEL", probe),
        ("ZADD", hosts, "XX", "0", "crewpool-doctor"),
        ("ZREM", hosts, "crewpool-doctor"),
        ("ZRANGE", hosts, 0, 0),
        ("ZRANGEBYSCORE", hosts, 0, 0),
        ("ZRANGEBYLEX", hosts, "-", "-"),
        ("ZLEXCOUNT", hosts, "-", "-"),
        ("ZREMRANGEBYSCORE", hosts, "(0", 0),
        ("ZCARD", hosts),
        ("ZSCORE", hosts, "crewpool-doctor"),
    ]
