"""The folder of this supervisor's own on tmpfs, a subfolder a slot, removed at the end.

CrewAI writes a SQLite file after each task and locks it (trap C7): one folder a slot, and
no disk. A folder that a killed supervisor left behind is removed by the next one.
"""

import os
import re
import tempfile
from pathlib import Path

from supervisor.pool.identity import Identity
from worker.leftovers import after, remove

# What a crew left may be millions of files; what is not gone by then the next one removes.
LIMIT_S = 5.0
PREFIX = "crewpool-"
_OURS = re.compile(r"crewpool-(\d+)-[a-z0-9_]+")


class Storage:
    """Makes the folder, which belongs to the workers' user; `remove()` takes it away."""

    def __init__(self, root: Path, owner: Identity | None = None) -> None:
        _remove_leftovers(root)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))
        if owner is not None:
            os.chown(self.path, owner.uid, owner.gid)

    def remove(self) -> None:
        """Remove the folder with all that crews wrote."""
        remove(self.path, after(LIMIT_S))


def _remove_leftovers(root: Path) -> None:
    is_time_up = after(LIMIT_S)
    for folder in root.iterdir():
        found = _OURS.fullmatch(folder.name)
        # A pid that lives may be another program's by now: then the folder stays.
        if found and not Path(f"/proc/{found[1]}").exists():
            remove(folder, is_time_up)
