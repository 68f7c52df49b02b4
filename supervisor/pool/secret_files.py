"""Variables whose values stand in files: `<NAME>_FILE` gives `<NAME>`, as in Docker's images.

Secrets that are mounted (/run/secrets/…) can be rotated, and stand in nobody's environment.
The convention is that of the official images, see docker-library/docs; unlike there the file
wins when both are set: it is what was changed last. Read on the loop's path, so nothing here
may block.
"""

import errno
import os
import stat
from collections.abc import Mapping

from supervisor.errors import SecretUnreadable

SUFFIX = "_FILE"
MOST_BYTES = 65_536
# The libraries of crews read these files by themselves, and want the path.
OF_LIBRARIES = frozenset(
    {
        "SSL_CERT_FILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AZURE_FEDERATED_TOKEN_FILE",
    }
)


def names_in(environ: Mapping[str, str]) -> list[str]:
    """Return the names of all variables: those set, and those whose file is named."""
    plain = {name for name in environ if not _is_of_file(name)}
    return sorted(plain | {name.removesuffix(SUFFIX) for name in environ if _is_of_file(name)})


def value_of(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of a variable, None when there is none. Raises SecretUnreadable."""
    variable = name + SUFFIX
    if _is_of_file(variable) and (path := environ.get(variable)):
        return _read(variable, path)
    return environ.get(name)


def _is_of_file(name: str) -> bool:
    return name.endswith(SUFFIX) and name not in OF_LIBRARIES and name != SUFFIX


def _read(variable: str, path: str) -> str:
    """Return what a file holds, without the newline at its end."""
    try:
        data = _bytes_of(path)
        value = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretUnreadable(variable, "it is no UTF-8 text") from None
    except OSError as error:
        raise SecretUnreadable(variable, error.strerror or type(error).__name__) from None
    if len(data) > MOST_BYTES:
        raise SecretUnreadable(variable, f"it has more than {MOST_BYTES} bytes")
    if "\0" in value:
        raise SecretUnreadable(variable, "it holds a zero byte")
    return value


def _bytes_of(path: str) -> bytes:
    # A pipe in its place must not make us wait.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        # At once: regular files give all that is asked for.
        return os.read(fd, MOST_BYTES + 1)
    finally:
        os.close(fd)
