"""The folders of a run: a fresh one for each, in the folder of its slot, removed afterwards.

Fresh, not emptied: libraries keep connections to their files by path, and what is left of a
run before must neither be found by the next nor make it wait.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worker import leftovers

# What crewai worked out from CREWAI_STORAGE_DIR while it was imported, long before a run.
_FIXED_AT_IMPORT = (
    ("crewai.rag.chromadb.config", "DEFAULT_STORAGE_PATH", ""),
    ("crewai.rag.qdrant.config", "DEFAULT_STORAGE_PATH", "qdrant"),
)


class Folders:
    """The folder of a slot. A worker that died in it may have left anything there.

    A slot has a second one, where another worker runs its last run while one that was ordered
    ahead boots; that one tidies it up when take_over() was called.
    """

    def __init__(
        self, slot_folder: Path, second_folder: Path | None = None, *, is_ahead: bool = False
    ) -> None:
        self._slot_folder = slot_folder
        self._second_folder = second_folder
        self._is_alone = not is_ahead

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Make a folder for one run: CREWAI_STORAGE_DIR, TMPDIR and the working folder.

        The environment is the caller's to restore.
        """
        # Again: a crew may have removed it.
        leftovers.make_folder(self._slot_folder)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._slot_folder))
        storage, scratch = folder / "storage", folder / "tmp"
        storage.mkdir()
        scratch.mkdir()
        os.environ["CREWAI_STORAGE_DIR"] = str(storage)
        os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
        os.chdir(scratch)
        for module, name, below in _FIXED_AT_IMPORT:
            if module in sys.modules:
                setattr(sys.modules[module], name, str(storage / below))
        try:
            yield
        finally:
            tempfile.tempdir = None
            os.chdir("/")

    def take_over(self) -> None:
        """Hear that nobody uses the second folder any more."""
        self._is_alone = True

    def tidy(self, at_least_s: float, is_wanted: Callable[[], bool]) -> bool:
        """Remove what runs left; True when all is gone.

        After that time it stops for the sake of somebody who waits: the rest has time.
        """
        until = time.monotonic() + at_least_s

        def is_time_up() -> bool:
            return time.monotonic() >= until and is_wanted()

        is_done = leftovers.empty(self._slot_folder, (), is_time_up)
        if self._is_alone and self._second_folder is not None:
            is_done &= leftovers.empty(self._second_folder, (), is_time_up)
        return is_done
