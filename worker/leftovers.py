"""Empties folders that crews wrote to, whatever they left there.

Called by a worker between runs, and by the supervisor and the zygote for the folder of all
slots. The content is hostile: no link is followed, nothing is opened but folders, folders
without permissions get them back, and other file systems are left alone. A folder inside a
folder is moved up before it is emptied, so that neither depth nor size costs more than a few
descriptors, and whoever is interrupted goes on another time: the state is the tree itself.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from pathlib import Path

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def never() -> bool:
    """Say that there is time enough."""
    return False


def after(limit_s: float) -> Callable[[], bool]:
    """Return a question that is answered with yes once this time has passed."""
    until = time.monotonic() + limit_s
    return lambda: time.monotonic() >= until


def make_folder(folder: Path) -> None:
    """Make a folder that others may not enter; what stands in its place and is none goes.

    Raises OSError.
    """
    try:
        # Mostly there is nothing in the way, and every fresh worker comes by.
        os.mkdir(folder, 0o700)  # noqa: PTH102  # Path's copies 0.1 MB of pages in each worker
    except OSError:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def empty(
    folder: Path, spare: Collection[str] = (), is_time_up: Callable[[], bool] = never
) -> bool:
    """Remove all in a folder but these names; True when nothing else is left.

    Raises nothing: what cannot be removed (a mount, an immutable file) stays.
    """
    try:
        top = _open_folder(folder)
    except OSError:
        return not os.path.lexists(folder)
    if not os.listdir(top):  # noqa: PTH208  # of a descriptor
        # As every fresh worker finds it: what follows would copy 0.2 MB of pages in each.
        os.close(top)
        return True
    with closing(_Emptier(top, is_time_up)) as emptier:
        try:
            return _is_removed(folder) or emptier.empty(set(spare))
        except OSError:
            return False


def remove(folder: Path, is_time_up: Callable[[], bool] = never) -> None:
    """Remove a folder with all that is in it, as far as it can be removed in time."""
    empty(folder, (), is_time_up)
    with suppress(OSError):
        folder.rmdir()


class _Emptier:
    """One folder that is being emptied; `top` is its descriptor, which it closes."""

    def __init__(self, top: int, is_time_up: Callable[[], bool]) -> None:
        self._top = top
        self._is_time_up = is_time_up
        self._device = os.fstat(top).st_dev

    def close(self) -> None:
        os.close(self._top)

    def empty(self, spare: set[str]) -> bool:
        stuck: set[str] = set()
        while not self._is_time_up():
            found = False
            with os.scandir(self._top) as entries:
                for entry in entries:
                    if entry.name in spare or entry.name in stuck:
                        continue
                    found = True
                    if self._is_time_up():
                        return False
                    if not self._remove(self._top, entry):
                        stuck.add(entry.name)
            if not found:
                return not stuck
        return False

    def _remove(self, parent: int, entry: "os.DirEntry[str]") -> bool:
        """Remove one thing; False when it has to stay, or when the time was up."""
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=parent)
            elif parent == self._top:
                return self._remove_folder(entry.name)
            else:
                self._move_up(parent, entry.name)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _remove_folder(self, name: str) -> bool:
        if _is_removed(name, self._top):
            return True
        is_empty = True
        folder = _open_folder(name, self._top, self._device)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if self._is_time_up():
                        return False
                    is_empty &= self._remove(folder, entry)
        finally:
            os.close(folder)
        if is_empty:
            os.rmdir(name, dir_fd=self._top)
        return is_empty

    def _move_up(self, parent: int, name: str) -> None:
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent)
            return
        # Its owner needs write permission to move it: ".." changes.
        os.close(_open_folder(name, parent, self._device))
        there = secrets.token_hex(8)
        os.rename(name, there, src_dir_fd=parent, dst_dir_fd=self._top)


def _is_removed(name: str | Path, parent: int | None = None) -> bool:
    """Remove a folder if it is empty.

    Raises OSError where something is mounted, also what lies on the same file system: behind
    that are not the crew's files.
    """
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise
        return False
    return True


def _open_folder(name: str | Path, parent: int | None = None, device: int | None = None) -> int:
    """Open a folder, no link, and give its owner all permissions.

    Raises OSError, also when it lies on another file system than `device`.
    """
    place = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
    try:
        found = os.fstat(place)
        if device is not None and found.st_dev != device:
            raise OSError(errno.EXDEV, "something is mounted here")
        # The one way that follows no link and needs no permission to read it.
        itself = f"/proc/self/fd/{place}"
        if stat.S_IMODE(found.st_mode) & 0o700 != 0o700:
            with suppress(OSError):
                os.chmod(itself, 0o700)  # noqa: PTH101  # no path of ours
        return os.open(".", _FOLDER, dir_fd=place)
    finally:
        os.close(place)
