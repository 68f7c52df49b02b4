"""Looks whether files of plugins have changed, for a supervisor that shall reload by itself.

It polls: what changes in a folder that is mounted into a container is not always told to who
listens, and a look at some hundred files costs about a millisecond, in a thread of its own.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from worker.code import files_of

LOOK_EVERY_S = 1.0


async def watch_for_ever(
    folder: Path, changed: Callable[[], None], every_s: float = LOOK_EVERY_S
) -> None:
    """Call `changed` when files have changed and then stayed so from one look to the next.

    Half of what somebody copies there, or writes in several steps, is not to be loaded.
    """
    told = seen = await asyncio.to_thread(fingerprint, folder)
    while True:
        await asyncio.sleep(every_s)
        found = await asyncio.to_thread(fingerprint, folder)
        if found == seen and found != told:
            told = found
            changed()
        seen = found


def fingerprint(folder: Path) -> str:
    """Return a text that changes with the files of the plugins in a folder.

    Their contents are not read: size and time of change say enough.
    """
    digest = hashlib.sha256()
    # A folder that goes away while we look has changed, which the next look shows.
    with suppress(OSError):
        for plugin in sorted(folder.iterdir()):
            if plugin.is_dir() and not plugin.name.startswith((".", "__")):
                digest.update(f"{plugin.name}/".encode(errors="surrogateescape"))
                for name, found in files_of(plugin):
                    facts = f"{name}\0{found.st_size} {found.st_mtime_ns} {found.st_ino}\0"
                    digest.update(facts.encode(errors="surrogateescape"))
    return digest.hexdigest()
