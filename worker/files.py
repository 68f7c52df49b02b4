"""Reads the small files of plugins, whatever stands in their place.

Called on the supervisor's loop too, where a pipe that nobody writes to would be waited for,
and a file without an end would be read, until nothing else gets done any more.
"""

import errno
import os
import stat
from pathlib import Path

MOST_BYTES = 1024 * 1024


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """Return the text of a regular file that is not larger.

    Raises OSError, also for other kinds of files and larger ones, and UnicodeDecodeError.
    """
    # Without waiting: to open a pipe is to wait for whoever writes to it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes")
    return data.decode()
