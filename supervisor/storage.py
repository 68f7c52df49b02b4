"""The folder of this supervisor's own on tmpfs, a subfolder a slot, removed at the end.

CrewAI writes a SQLite file after each task and locks it (trap C7): one folder a slot, and
no disk. A folder that a killed supervisor left behind is removed by the next one.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

PREFIX = "crewpool-"
_OURS = re.compile(r"crewpool-(\d+)-[a-z0-9_]+")


class Storage:
    """Makes the folder; `remove()` takes it away."""

    def __init__(self, root: Path) -> None:
        _remove_leftovers(root)
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))

    def remove(self) -> None:
        """Remove the folder with all that crews wrote."""
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_leftovers(root: Path) -> None:
    for folder in root.iterdir():
        found = _OURS.fullmatch(folder.name)
        # A pid that lives may be another program's by now: then the folder stays.
        if found and not Path(f"/proc/{found[1]}").exists():
            shutil.rmtree(folder, ignore_errors=True)
