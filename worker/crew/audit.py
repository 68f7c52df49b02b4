"""What a crew leaves behind in its worker: threads, children, descriptors, memory.

The worker's loop asks after each crew; what there was before is what the last look found.
What stays by design of a library is no leak, and stands below as data. Nothing is ended
here: the supervisor, which counts again from outside, decides what becomes of the worker.
"""

import gc
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable

# By name: a crew that patches threading.enumerate() or os.listdir() does not blind us.
from os import WNOHANG, dup, getpid, listdir, readlink, waitpid
from sys import _current_frames as frames_by_thread
from threading import _active as threads_by_ident  # type: ignore[attr-defined]
from threading import get_ident
from typing import Any

from worker.crew.output import clean
from worker.protocol import LONGEST_NAME, MOST_NAMES, Left

# How long threads and children that are about to end may take before they count as left.
GRACE_S = 0.02
PAUSE_S = 0.001
# So many more descriptors are no reason to look closer: event loops of libraries have three
# each, and a crew of CrewAI leaves the connection to its model to the collector.
SLACK_FDS = 16
NO_NAME = "(no name)"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


# The threads that stay by design, without their numbers, and how many at most. Read in
# crewai 1.15 (events/event_bus.py; memory/unified_memory.py, one for each crew with memory
# until it is collected), lancedb 0.40 (background_loop.py), tqdm 4 (_monitor.py) and asyncio
# (base_events.py). Threads that run no Python (tokio's, OpenMP's) belong to libraries in
# other languages, and are counted as standing, too.
STANDING = {
    "CrewAIEventsLoop": 1,
    "CrewAISyncHandler": 10,
    "LanceDBBackgroundEventLoop": 1,
    "TMonitor": 1,
    "asyncio": 32,
    "lancedb-embedding": 32,
    "memory-save": 4,
}


class Audit:
    """Looks at this process from inside. Make it before the first crew; ask it after each."""

    def __init__(self) -> None:
        self._open = _descriptors()
        self._rss_bytes = _rss_bytes()

    def after(self, mask: Callable[[str], str]) -> Left:
        """Return what is there now and was not at the last look. Names pass through `mask`.

        Costs some 0.1 ms where nothing was left. Else what the collector would free, or what
        ends within GRACE_S, is waited for: it is no leak.
        """
        threads, children, fresh = _leaked_threads(), _has_children(), self._fresh()
        if threads or children or fresh:
            gc.collect()
            _wait_for_ends()
            threads, children, fresh = _leaked_threads(), _has_children(), self._fresh()
        before, self._rss_bytes = self._rss_bytes, _rss_bytes()
        if fresh:
            self._open = _descriptors()
        return Left(
            threads=_short(threads, mask),
            children=_short(_names_of_children(), mask) if children else (),
            standing=max(0, len(_entries("/proc/self/task")) - 1 - len(threads)),
            fds=len(fresh),
            sockets=sum(link.startswith("socket:") for link in fresh.values()),
            open=_short(_told(fresh), mask),
            rss_bytes=max(0, self._rss_bytes - before),
        )

    def _fresh(self) -> dict[int, str]:
        """Return the descriptors that are new, {} while they are few."""
        fresh = dict(_descriptors().items() - self._open.items())
        return fresh if len(fresh) > SLACK_FDS else {}


def _leaked_threads() -> list[str]:
    """Return the names of the threads that no library keeps by design."""
    by_kind = Counter[str]()
    leaked = []
    # Of all threads that run Python, also those that threading does not know.
    for ident in set(frames_by_thread()) - {get_ident()}:
        name = _name_of(threads_by_ident.get(ident))
        kind = _kind(name)
        by_kind[kind] += 1
        if by_kind[kind] > STANDING.get(kind, 0):
            leaked.append(name)
    return sorted(leaked)


def _kind(name: str) -> str:
    """Return the name without its number.

    >>> _kind("CrewAISyncHandler_12")
    'CrewAISyncHandler'
    """
    return name.rstrip("0123456789").rstrip("_")


def _name_of(thread: Any) -> str:
    if thread is None:
        return NO_NAME
    if type(thread).__module__ == "tqdm._monitor":
        return "TMonitor"  # it has no name of its own
    try:
        return str(thread.name) or NO_NAME
    except BaseException:  # noqa: BLE001  # a plugin's thread is code of the plugin, too
        return NO_NAME


def _wait_for_ends() -> None:
    until = time.monotonic() + GRACE_S
    while (_leaked_threads() or _has_children()) and time.monotonic() < until:
        time.sleep(PAUSE_S)


def running_children() -> list[str]:
    """Return "pid name" of what runs on although it was given the time to end."""
    until = time.monotonic() + GRACE_S
    while (has_some := _has_children()) and time.monotonic() < until:
        time.sleep(PAUSE_S)
    return _names_of_children() if has_some else []


def _has_children() -> bool:
    """Collect what a crew started and left; tell whether some of it still runs.

    We are the parent of its daemons too, being a subreaper; between runs nobody else waits.
    """
    try:
        while waitpid(-1, WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _names_of_children() -> list[str]:
    """Return "pid name" of each child that runs. Reads all of /proc: only when there are some."""
    found = []
    for entry in _entries("/proc"):
        if entry.isdigit() and (stat := _read(f"/proc/{entry}/stat")):
            # The name in parentheses may hold anything, blanks and parentheses too.
            name, _, rest = stat.partition("(")[2].rpartition(")")
            if rest.split()[1] == str(getpid()):
                found.append(f"{entry} {name}")
    return found


def _descriptors() -> dict[int, str]:
    """Return what is open: number and what the kernel calls it."""
    found = {}
    for entry in _entries("/proc/self/fd"):
        try:
            found[int(entry)] = readlink(f"/proc/self/fd/{entry}")  # noqa: PTH115  # see above
        except OSError:
            continue  # that of the listing itself
    return found


def _told(fresh: dict[int, str]) -> list[str]:
    """Say what descriptors are, alike ones together. A path is somebody's business: its kind."""
    kinds = Counter(_kind_of_descriptor(fd, link) for fd, link in fresh.items())
    return [f"{count} {kind}" for kind, count in kinds.most_common()]


def _kind_of_descriptor(fd: int, link: str) -> str:
    if link.startswith("socket:"):
        return _peer_of(fd)
    if link.startswith("/dev/"):
        return "device"
    if link.startswith("/"):
        return "file"
    # Such as pipe:[123] and anon_inode:[eventpoll].
    kind, _, inner = link.partition(":")
    return inner.strip("[]") if kind == "anon_inode" else kind


def _peer_of(fd: int) -> str:
    try:
        with socket.socket(fileno=dup(fd)) as ours:
            peer = ours.getpeername()
    except OSError:
        return "socket"  # it listens, or its other end is gone
    return f"socket to {peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix socket"


def _entries(folder: str) -> list[str]:
    return listdir(folder)  # noqa: PTH208  # see above


def _rss_bytes() -> int:
    fields = _read("/proc/self/statm").split()
    return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123  # dear
            return file.read()
    except OSError:
        return ""


def _short(names: Iterable[str], mask: Callable[[str], str]) -> tuple[str, ...]:
    # Masked before they are cut, or a credential across the cut would show its head.
    texts = [mask(clean(" ".join(name.split()))) for name in names]
    return tuple(text[:LONGEST_NAME] for text in texts[:MOST_NAMES])
