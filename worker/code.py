"""The code of a plugin as it lies on the disk: which files count, and one short hash of them.

Used where code is loaded, to say which code a run ran on, and by the watch of a supervisor,
to see that it changed. It reads, and imports nothing.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

ENDS = (".py", ".yaml", ".yml", ".json")
HASH_LENGTH = 12
# Nobody writes so much by hand: what is beyond enters with its name and size, or not at all.
MOST_FILES = 2000
MOST_BYTES = 16 * 1024 * 1024
MOST_FOLDERS = 1000


def code_hash(folder: Path) -> str:
    """Return twelve hexadecimal digits that change with any name or text of a plugin's files.

    The same files give the same digits on every host. What Python compiles, hidden files
    and other kinds of files do not count.
    """
    digest = hashlib.sha256()
    left_bytes = MOST_BYTES
    for name, found in files_of(folder):
        digest.update(os.fsencode(name) + f"\0{found.st_size}\0".encode())
        if found.st_size <= left_bytes:
            text = _read(folder / name, found.st_size)
            left_bytes -= len(text)
            digest.update(text)
    return digest.hexdigest()[:HASH_LENGTH]


def files_of(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files that count, in order, by their path within the folder.

    Links are followed, since a mounted ConfigMap consists of them; no folder is looked into
    twice, so that a circle of links ends.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    count = 0
    while waiting and len(seen) < MOST_FOLDERS:
        below = waiting.pop()
        for name in _listed(folder / below, seen):
            path = f"{below}{name}"
            try:
                found = (folder / path).stat()
            except OSError:
                continue  # gone in between, or a link to nowhere
            if stat.S_ISDIR(found.st_mode):
                waiting.append(f"{path}/")
            elif stat.S_ISREG(found.st_mode) and name.endswith(ENDS):
                yield path, found
                count += 1
                if count == MOST_FILES:
                    return


def _listed(folder: Path, seen: set[tuple[int, int]]) -> list[str]:
    """Return the names in a folder that was not seen before, without hidden ones."""
    try:
        found = folder.stat()
        names = sorted(os.listdir(folder))  # noqa: PTH208  # names are all that is needed
    except OSError:
        return []
    place = (found.st_dev, found.st_ino)
    if place in seen:
        return []
    seen.add(place)
    return [name for name in names if not name.startswith((".", "__pycache__"))]


def _read(path: Path, size_bytes: int) -> bytes:
    """Return what is in a file, b"" when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size_bytes)
    except OSError:
        return b""
