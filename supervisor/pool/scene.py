"""What the threads of a worker are doing at one moment, read from /proc.

For the post-mortem of a run that is about to be killed: called twice, at its deadline and
right before the kill. It must neither block nor take long, whatever a crew has set up:
threads, tables of sockets and time are bounded. Names are not resolved; an address is told as
the kernel has it.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field

from supervisor.pool import hardkill
from supervisor.pool.farends import far_ends
from supervisor.pool.syscalls import Call, call_of

MOST_THREADS = 64
# Of our CPU.
LIMIT_S = 0.005


@dataclass(frozen=True)
class Thread:
    """One thread: its state as ps shows it (R: on a CPU or about to be), its CPU time in
    seconds, its system call, and what each of its descriptors is: "pipe:[1]", "socket:[2]", a
    path, or "" for one that was closed.
    """

    tid: int
    state: str
    ran_s: float = 0.0
    call: Call = field(default_factory=Call)
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """One look at a process. `threads` begin with the one that runs the crew, and may be cut:
    `count` is how many there are.

    `peers` are the far ends of the internet sockets among what the threads wait for, by
    "socket:[inode]"; "" where it is not known.
    """

    at: float
    threads: tuple[Thread, ...] = ()
    count: int = 0
    peers: tuple[tuple[str, str], ...] = ()
    has_children: bool = False


def read_scene(pid: int, *, briefly: bool = False) -> Scene:
    """Look at a process; what cannot be read is missing, and a dead one has no threads.

    `briefly` is without what the threads wait for.
    """
    at, until = time.monotonic(), time.thread_time() + LIMIT_S
    try:
        found = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  # Path objects cost milliseconds
    except OSError:
        return Scene(at)
    tids = sorted(map(int, found), key=lambda tid: (tid != pid, tid))
    threads: list[Thread] = []
    for tid in tids[:MOST_THREADS]:
        if (thread := _thread(pid, tid, briefly=briefly)) is not None:
            threads.append(thread)
        if time.thread_time() >= until:
            break
    sockets = {
        name: fd
        for thread in threads
        for name, fd in zip(thread.on, thread.call.descriptors, strict=True)
        if name.startswith("socket:")
    }
    peers = far_ends(pid, sockets)
    waited_for = {name for thread in threads for name in thread.on} - set(peers)
    may_be_childs = any(name.startswith(("pipe:", "socket:")) for name in waited_for)
    has_children = may_be_childs and bool(hardkill.children_of(pid))
    return Scene(at, tuple(threads), len(tids), tuple(sorted(peers.items())), has_children)


def _thread(pid: int, tid: int, *, briefly: bool) -> Thread | None:
    folder = f"/proc/{pid}/task/{tid}"
    try:
        stat = _read(f"{folder}/stat", 1024)
        state = stat[stat.rindex(b")") + 2 :].split(None, 1)[0].decode("ascii", "replace")
        ran_s = int(_read(f"{folder}/schedstat", 128).split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
    if briefly or state == "R":
        return Thread(tid, state, ran_s)
    call = call_of(pid, tid)
    return Thread(tid, state, ran_s, call, tuple(_target(pid, fd) for fd in call.descriptors))


def _target(pid: int, fd: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/{fd}")[:200]  # noqa: PTH115  # hot
    return ""


def _read(path: str, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts, size = [], 0
        while size < most and (part := os.read(fd, most - size)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)
    finally:
        os.close(fd)
