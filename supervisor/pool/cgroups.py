"""A control group (cgroup v2) for each worker, where we may make some.

What stands in a group dies by one write, all of it at once: no fork gets past it, and nothing
leaves by setsid, by hopping from process to process or with an empty environment. Groups are
for killing only; no controller is switched on, so that nothing has to be delegated but the
folder itself (systemd: Delegate=yes). Where we may not, hardkill.py does it alone.

Groups lie below our own as crewpool-<pid>-<random>/w<order>. The interface is described in
the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from supervisor.pool.handle import Handle

PREFIX = "crewpool-"
REMOVE_S = 0.2
CLOSE_S = 0.05
MOUNTS = Path("/proc/self/mountinfo")
OWN = Path("/proc/self/cgroup")


class Cgroups:
    """The groups of one supervisor. Without a folder it has none, and says so by False.

    `janitor_uid` is the user who may kill them all when we are gone, if that is not ours.
    """

    def __init__(self, folder: Path | None, janitor_uid: int | None = None) -> None:
        self.folder = folder
        self._janitor_uid = -1 if janitor_uid is None else janitor_uid
        self._to_remove: set[Path] = set()
        # For a worker that was not born in its group. To move a process takes the kernel 10 to
        # 50 ms, until all CPUs have passed by (RCU): not the loop's to wait for, nor the next
        # run's. What a run starts until then is found in /proc, as where there are no groups.
        self._mover = ThreadPoolExecutor(1, "cgroups")

    @contextmanager
    def opened(self, handle: Handle) -> Iterator[tuple[int, ...]]:
        """Make the group of a worker that is being ordered, and give a descriptor of it, for it
        to be born there. None where there are no groups. Costs 0.1 ms.
        """
        try:
            fds = () if self.folder is None else (_open(self._group(handle), self._janitor_uid),)
        except OSError:
            fds = ()  # it may be moved there yet
        try:
            yield fds
        finally:
            for fd in fds:
                os.close(fd)

    def place(self, handle: Handle) -> None:
        """See that a worker whose pid is known was born in its group, or begin to move it."""
        if self.folder is None or handle.pid is None:
            return
        if handle.pid in self._inside(handle):
            handle.is_grouped = True
            return
        loop, group = asyncio.get_running_loop(), self._group(handle)
        moved = loop.run_in_executor(self._mover, _move, group, handle.pid, self._janitor_uid)
        moved.add_done_callback(lambda move: self._note(handle, move.exception()))

    def kill(self, handle: Handle) -> bool:
        """Kill all that stands in a worker's group; False when it has none."""
        return handle.is_grouped and _write(self._group(handle) / "cgroup.kill", "1")

    def others(self, handle: Handle) -> set[int]:
        """Return what stands in a worker's group beside itself."""
        return self._inside(handle) - {handle.pid or 0}

    def release(self, handle: Handle) -> None:
        """Kill what a dead worker left in its group, and remove that."""
        if self.folder is not None:
            _write(self._group(handle) / "cgroup.kill", "1")
            self._to_remove.add(self._group(handle))
            # What was killed this moment still is in there: then a bit later, or with the next.
            self._remove_released()
            if self._to_remove:
                asyncio.get_running_loop().call_later(REMOVE_S, self._remove_released)

    def close(self) -> None:
        """Remove them all, as far as they are empty; what is not goes at the next start."""
        self._mover.shutdown()
        until = time.monotonic() + CLOSE_S
        # Who was reaped this moment stands in its group until it has left its CPU.
        while self.folder is not None and self.folder.exists() and time.monotonic() < until:
            remove(self.folder)

    def _inside(self, handle: Handle) -> set[int]:
        try:
            found = (self._group(handle) / "cgroup.procs").read_text("ascii").split()
        except OSError:
            return set()
        return {int(pid) for pid in found}

    def _remove_released(self) -> None:
        self._to_remove = {group for group in self._to_remove if not _removed(group)}

    def _group(self, handle: Handle) -> Path:
        return (self.folder or Path()) / f"w{handle.order}"

    def _note(self, handle: Handle, error: BaseException | None) -> None:
        # With an error: refused, or gone meanwhile.
        handle.is_grouped = error is None


def own_folder(mounts: Path = MOUNTS, own: Path = OWN) -> Path | None:
    """Return the folder of the group that we are in; None when it is not mounted or not ours."""
    try:
        (path,) = (
            line[3:] for line in own.read_text("utf-8").splitlines() if line.startswith("0::")
        )
        lines = [line.split() for line in mounts.read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        return None
    for words in lines:
        if "cgroup2" not in words[-3:-2]:
            continue
        root, mounted = words[3], Path(words[4])
        # In a container the mount may show a part of the tree only.
        for below in (path.removeprefix(root.rstrip("/")), ""):
            folder = mounted / below.lstrip("/")
            if _is_ours(folder):
                return folder
    return None


def choose_folder() -> Path | None:
    """Return where our groups may stand; remove what supervisors before us left empty there.

    It is made with the first group, so that a start that fails leaves nothing behind.
    """
    own = own_folder()
    if own is None:
        return None
    for stale in own.glob(f"{PREFIX}*"):
        remove(stale)
    folder = own / f"{PREFIX}{os.getpid()}-{secrets.token_hex(2)}"
    try:
        folder.mkdir()
        can_kill = (folder / "cgroup.kill").exists()  # since Linux 5.14
        folder.rmdir()
    except OSError:
        return None
    return folder if can_kill else None


def remove(folder: Path) -> None:
    """Remove a folder of groups as far as nothing stands in them."""
    with suppress(OSError):
        for group in folder.glob("w*"):
            _removed(group)
        folder.rmdir()


def _is_ours(folder: Path) -> bool:
    procs = folder / "cgroup.procs"
    try:
        # To move a process one must be allowed to write in the group that it comes from.
        is_in_there = str(os.getpid()) in procs.read_text("ascii").split()
    except OSError:
        return False
    return is_in_there and os.access(procs, os.W_OK) and os.access(folder, os.W_OK)


def _move(group: Path, pid: int, janitor_uid: int) -> None:
    """Move a process. Raises OSError when that is refused, or the process is gone."""
    for is_last in (False, True):
        # Whoever starts beside us may have removed a group that was empty.
        try:
            _make(group, janitor_uid)
            (group / "cgroup.procs").write_text(str(pid))
        except FileNotFoundError:
            if is_last:
                raise
        else:
            return


def _open(group: Path, janitor_uid: int) -> int:
    _make(group, janitor_uid)
    return os.open(group, os.O_RDONLY | os.O_DIRECTORY)


def _make(group: Path, janitor_uid: int) -> None:
    group.mkdir(parents=True, exist_ok=True)
    os.chown(group.parent / "cgroup.kill", janitor_uid, -1)


def _write(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
