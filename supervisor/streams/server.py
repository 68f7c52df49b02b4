"""What kind of server answers, and whether the scripts can run on it."""

import re
from dataclasses import dataclass

from redis.exceptions import NoPermissionError

from supervisor.errors import RedisTooOld
from supervisor.streams.connection import answering
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Queue
from supervisor.streams.script_loader import decoded
from worker.errors import CrewpoolError

OLDEST = (7, 0)
_TAG = re.compile(r"\{([^{}]+)\}")


class NamesNeedOneSlot(CrewpoolError):  # noqa: N818  # named for what happened
    """On a cluster, a script may only touch keys of one hash slot (trap R12)."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = list(names.values())
        examples = (f"{variable}={_tagged(name)}" for variable, name in names.items())
        super().__init__(
            f"This Redis is a cluster, and {', '.join(self.names)} lie in different slots. "
            f"Give all of them one hash tag, for example {', '.join(examples)}"
        )


def _tagged(name: str) -> str:
    first, colon, rest = _TAG.sub(r"\1", name).partition(":")
    return f"{{plugin}}{colon or ':'}{rest or first}"


@dataclass(frozen=True)
class ServerFacts:
    """What INFO says that matters to us."""

    name: str
    version: str
    eviction_policy: str
    is_cluster: bool
    has_aof: bool
    replicas: int = 0

    @property
    def is_new_enough(self) -> bool:
        """Whether it has lag, script flags and deleted ids in XAUTOCLAIM (trap R16)."""
        # Valkey reports the Redis version that it is compatible with.
        numbers = [int(part) for part in re.findall(r"\d+", self.version)[:2]]
        return self.name == "valkey" or tuple(numbers) >= OLDEST


async def facts_of(queue: Queue) -> ServerFacts:
    """Ask the server who it is. Raises RedisAway."""
    async with answering(queue.client):
        info = {}
        for section in ("server", "memory", "cluster", "persistence", "replication"):
            info.update(decoded(await queue.client.info(section)))
    name = str(info.get("server_name", "redis"))
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    return ServerFacts(
        name,
        version,
        str(info.get("maxmemory_policy", "unknown")),
        str(info.get("cluster_enabled", "0")) == "1",
        str(info.get("aof_enabled", "0")) == "1",
        int(info.get("connected_slaves", 0)),
    )


async def replicas_to_write(queue: Queue) -> int | None:
    """Return how many replicas must be there for a write; None when we may not ask."""
    name = "min-replicas-to-write"
    async with answering(queue.client):
        try:
            return int(decoded(await queue.client.config_get(name))[name])
        except (NoPermissionError, KeyError):
            return None


async def check_server(queue: Queue) -> ServerFacts:
    """Raise RedisTooOld or NamesNeedOneSlot when this server cannot serve us."""
    facts = await facts_of(queue)
    if not facts.is_new_enough:
        raise RedisTooOld(facts.version, ".".join(map(str, OLDEST)))
    names = _names_of(queue.keys)
    tags = {match[1] if (match := _TAG.search(name)) else None for name in names.values()}
    if facts.is_cluster and (None in tags or len(tags) > 1):
        raise NamesNeedOneSlot(names)
    return facts


def _names_of(keys: Keys) -> dict[str, str]:
    """Return all names that were chosen, by their variables; the others follow from them."""
    names = {
        "REQUESTS_STREAM": keys.requests,
        "RESULTS_STREAM": keys.results,
        "DEAD_LETTERS_STREAM": keys.dead_letters,
        "MESSAGES_STREAM": keys.messages,
        "HEARTBEATS_KEY": keys.heartbeats,
    }
    return {f"CREWPOOL_{variable}": name for variable, name in names.items() if name}
