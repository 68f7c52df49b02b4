"""Addresses that name several servers: what stands in redis+sentinel:// and redis+cluster://.

Called by connection.py. The options of the URL are left to redis-py, which knows them all.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from redis.asyncio.connection import parse_url

Address = tuple[str, int]
_HEAD = re.compile(r"(rediss?)(?:\+(sentinel|cluster))?://(?:(.*)@)?([^/@]*)/?([^@]*)")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+))(?::(\d{1,5}))?")


@dataclass(frozen=True)
class Seeds:
    """Where to ask first, what for, and how to connect.

    kind      "sentinel", "cluster", or "" for an ordinary address
    path      what follows the hosts, without its first slash
    options   keyword arguments for connections, with user, password and connection class
    """

    kind: str
    hosts: tuple[Address, ...]
    path: str
    options: dict[str, Any]

    def __str__(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.hosts)


def seeds_of(url: str) -> Seeds:
    """Take an address apart. Raises ValueError, which quotes nothing of it."""
    head, _, query = url.partition("?")
    if not (found := _HEAD.fullmatch(head)):
        raise ValueError("no address that names servers")
    scheme, kind, login, hosts, path = found.groups()
    default_port = 26379 if kind == "sentinel" else 6379
    login = f"{login}@" if login else ""
    options: dict[str, Any] = dict(parse_url(f"{scheme}://{login}-?{query}"))
    del options["host"]
    addresses = tuple(_address(text, default_port) for text in (hosts or "localhost").split(","))
    return Seeds(kind or "", addresses, unquote(path), options)


def _address(text: str, default_port: int) -> Address:
    if not (found := _HOST.fullmatch(text)) or not 0 < int(found[3] or default_port) < 65536:
        raise ValueError("no host:port in the address")
    return found[1] or found[2], int(found[3] or default_port)
