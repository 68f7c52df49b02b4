"""What the zygote, and with it every worker, gets to see of our environment.

An allow-list: promise P5 says that plugin code never sees Redis, its URL or its
credentials, and a list of what is forbidden is never complete.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from supervisor.addresses import passwords_in
from worker.redact import SHORTEST, secrets_of

# Read by the janitor of a zygote whose supervisor died; see worker/janitor.py.
MARKER = "CREWPOOL_TREE"


def worker_environment(
    environ: Mapping[str, str], patterns: Iterable[str], redis_url: str, mark: str
) -> dict[str, str]:
    """Return the variables for the zygote: those a pattern names, and none with Redis in it."""
    wanted = tuple(patterns)
    passwords = [password for password in passwords_in(redis_url) if len(password) >= SHORTEST]
    forbidden = [redis_url, *passwords]
    allowed = {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, pattern) for pattern in wanted)
        # An application may keep the same URL, or a part of it, under a name of its own.
        and not any(part in value for part in forbidden)
        and not name.startswith("REDIS_")
    }
    # setproctitle would otherwise overwrite the block where the marker can be read.
    return {**allowed, MARKER: mark, "SPT_NOENV": "1"}


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of a worker's environment that must not show in the log."""
    return secrets_of({}, environ)
