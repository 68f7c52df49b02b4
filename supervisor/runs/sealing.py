"""Seals what waits in the outbox with credentials in it, so that they stand nowhere in plain.

Fernet (https://github.com/fernet/spec) with the keys of a file: the first one seals, all of them
open, so that a new key is put above the old one and the old one goes when the outbox is empty.
"""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from supervisor.runs.errors import OutboxKeyThere, OutboxKeyUnfit

LARGEST_FILE = 65_536


class Sealer:
    """Seals and opens texts. Raises OutboxKeyUnfit when its file holds no key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open(encoding="ascii") as file:
                lines = file.read(LARGEST_FILE).split()
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is no text"
            raise OutboxKeyUnfit(str(path), str(told)) from None
        try:
            keys = [Fernet(line) for line in lines]
        except ValueError:
            raise OutboxKeyUnfit(str(path), "a line of it is no key") from None
        if not keys:
            raise OutboxKeyUnfit(str(path), "it is empty")
        self._fernet = MultiFernet(keys)

    @classmethod
    def of(cls, path: Path) -> "Sealer":
        """Return the sealer of a file of our own, which is made when there is none."""
        with suppress(OutboxKeyThere):
            make_key(path)
        return cls(path)

    def sealed(self, text: str) -> str:
        """Return a text that nobody can read without a key."""
        return self._fernet.encrypt(text.encode()).decode()

    def opened(self, token: str) -> str:
        """Return the text again. Raises OutboxKeyUnfit when another key has sealed it."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken:
            raise OutboxKeyUnfit(str(self._path), "another key has sealed the run") from None


def make_key(path: Path) -> None:
    """Make a file with a new key that only its owner may read.

    It appears whole, so that of two processes at their first start both use the same key.
    Raises OutboxKeyThere when there is a file, OutboxKeyUnfit when none can be made.
    """
    if path.exists():
        raise OutboxKeyThere(str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            raise OutboxKeyThere(str(path)) from None
        finally:
            draft.unlink()
    except OSError as error:
        raise OutboxKeyUnfit(str(path), str(error.strerror)) from None
