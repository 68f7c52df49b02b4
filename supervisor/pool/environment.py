"""What the zygote, every worker, and the crews of one plugin get to see of our environment.

An allow-list: promise P5 says that plugin code never sees Redis, its URL or its
credentials, and a list of what is forbidden is never complete. Values come from variables,
or from the files that `<NAME>_FILE` names; those are read anew each time, so that a secret
which is rotated reaches the next run.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from supervisor.addresses import passwords_in
from supervisor.errors import SecretUnreadable
from supervisor.pool import secret_files
from worker.redact import SHORTEST, secrets_of

# Read by the janitor of a zygote whose supervisor died; see worker/janitor.py.
MARKER = "CREWPOOL_TREE"


class Environment:
    """Our environment as workers may see it. `patterns` name what all of them may.

    `complain` is told of each secret that cannot be read.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        patterns: Iterable[str],
        redis_url: str,
        mark: str,
        complain: Callable[[SecretUnreadable], None],
    ) -> None:
        self._environ = environ
        self._patterns = tuple(patterns)
        passwords = [password for password in passwords_in(redis_url) if len(password) >= SHORTEST]
        self._forbidden = (redis_url, *passwords)
        self._mark = mark
        self._complain = complain
        self._secrets: tuple[str, ...] = ()

    def of_zygote(self) -> dict[str, str]:
        """Return the variables for a new zygote, and with it for all its workers.

        A secret that cannot be read is left out: what does not need it goes on.
        """
        found: dict[str, str] = {}
        # The path of a file is for those to see who are told so by its very name.
        by_name = {name for name in self._patterns if name in self._environ}
        for name in {*by_name, *secret_files.names_in(self._environ)}:
            if any(fnmatchcase(name, pattern) for pattern in self._patterns):
                try:
                    found |= self._allowed(name)
                except SecretUnreadable as error:
                    self._complain(error)
        fresh = secrets_of({}, found)
        self._secrets = tuple(sorted({*self._secrets, *fresh}, key=len, reverse=True))
        # setproctitle would otherwise overwrite the block where the mark can be read.
        return {**found, MARKER: self._mark, "SPT_NOENV": "1"}

    def secrets(self) -> tuple[str, ...]:
        """Return the values that must not show in a log, those of older zygotes among them:
        workers of theirs may still be at work.
        """
        return self._secrets

    def of_plugin(self, names: Collection[str]) -> dict[str, str]:
        """Return what one plugin sees beside that; what is not set is not there.

        Raises SecretUnreadable.
        """
        try:
            return {key: value for name in names for key, value in self._allowed(name).items()}
        except SecretUnreadable as error:
            self._complain(error)
            raise

    def _allowed(self, name: str) -> dict[str, str]:
        value = secret_files.value_of(name, self._environ)
        if value is None:
            return {}
        # An application may keep the same URL, or a part of it, under a name of its own.
        is_redis = name.startswith("REDIS_") or any(part in value for part in self._forbidden)
        return {} if is_redis else {name: value}


def fits(ran: Collection[str], plugin: str, *, has_secrets: bool, is_private: bool) -> bool:
    """Say whether a worker that has run these plugins may run this one.

    Not when a plugin with secrets of its own would share a process with another: secrets stay
    in memory, and code that ran before may be waiting for them. `has_secrets`: the worker was
    given some; `is_private`: the plugin may be given some.
    """
    has_others = bool(set(ran) - {plugin})
    return not (has_others and (has_secrets or is_private))
