"""Who may come in: the tokens of a file, one a line, read again when it changes.

The file is the truth: while it cannot be read or is empty, nobody comes in. Tokens are compared
by their digests and all of them each time, so that the time it takes tells nothing.
"""

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path

from supervisor.log import Log
from worker.errors import CrewpoolError

LOOK_EVERY_S = 1.0
SHORTEST = 16
LARGEST_FILE = 1_048_576
NOBODY = ""


class TokensUnfit(CrewpoolError):  # noqa: N818  # named for what happened
    """The file of tokens cannot be used. Its content is not told."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}")


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """Return the digests of the tokens in a file. Raises TokensUnfit."""
    try:
        with path.open("rb") as file:
            lines = file.read(LARGEST_FILE).splitlines()
    except OSError as error:
        raise TokensUnfit(path, f"cannot be read: {error.strerror}") from None
    found = [line.strip() for line in lines]
    tokens = [line for line in found if line and not line.startswith(b"#")]
    if not tokens:
        raise TokensUnfit(path, "holds no token: one a line")
    if any(len(token) < SHORTEST for token in tokens):
        raise TokensUnfit(path, f"holds a token of less than {SHORTEST} characters")
    return tuple(hashlib.sha256(token).digest() for token in tokens)


class Tokens:
    """The tokens of one file. Raises TokensUnfit when it cannot be used at the start."""

    def __init__(
        self, path: Path, log: Log | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._log = log or Log("crewpool.gateway")
        self._clock = clock
        self._stamp = self._stamp_now()
        self._digests = read_tokens(path)
        self._looked_at = clock()

    def __len__(self) -> int:
        return len(self._digests)

    def owner_of(self, authorization: str) -> str:
        """Return a name for whoever sends this header, "" for nobody that may come in.

        The name follows from the token, and tells nothing about it.
        """
        self._look()
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        owner = NOBODY
        for known in self._digests:
            if hmac.compare_digest(known, digest):
                owner = hashlib.sha256(known).hexdigest()[:16]
        return owner if scheme.lower() == "bearer" else NOBODY

    def _look(self) -> None:
        if self._clock() < self._looked_at + LOOK_EVERY_S:
            return
        self._looked_at = self._clock()
        if (stamp := self._stamp_now()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = read_tokens(self._path)
            self._log.info("gateway_tokens_read", tokens=len(self._digests))
        except TokensUnfit as error:
            self._digests = ()
            self._log.error("gateway_tokens_unfit", error=str(error))

    def _stamp_now(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_size, found.st_mtime_ns)
