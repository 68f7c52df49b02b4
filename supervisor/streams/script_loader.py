"""Loads the Lua scripts of scripts/, each with the shared beginning, once.

EVALSHA first; the full text only when the server does not know it (a restart, a failover).
"""

from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis

SHARED = ("_entries.lua", "_world.lua")
MORE = {"take": ("_limits.lua",)}
# The shebang makes Redis refuse the whole script when memory is short, before its first
# write, instead of half way through (trap R11).
SHEBANG = "#!lua\n"
# But leases must be renewed all the same, or healthy runs are reclaimed when memory is back.
# XCLAIM of what is pending already needs none. What trims makes room. And who looks why
# nothing goes on shall see it.
ALLOWED = "#!lua flags=allow-oom\n"
WITHOUT_MEMORY = {
    "renew": ALLOWED,
    "tidy": ALLOWED,
    "forget": ALLOWED,
    "locate": "#!lua flags=no-writes\n",
}


@cache
def source_of(name: str) -> str:
    """Return the text of a script as it is sent to the server."""
    folder = files("supervisor.streams") / "scripts"
    files_of = (*SHARED, *MORE.get(name, ()), f"{name}.lua")
    parts = [(folder / file).read_text("utf-8") for file in files_of]
    return WITHOUT_MEMORY.get(name, SHEBANG) + "\n".join(parts)


async def call(client: Redis, name: str, keys: list[str], arguments: list[str | bytes]) -> Any:
    """Run a script and return its answer with all bytes decoded."""
    script = client.register_script(source_of(name))
    return decoded(await script(keys=keys, args=arguments))


def decoded(value: Any) -> Any:
    """Decode bytes in an answer of any shape. What is no UTF-8 stays recognizable as such."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return [decoded(part) for part in value]
    if isinstance(value, dict):
        return {decoded(key): decoded(part) for key, part in value.items()}
    return value
