"""What the threads of a worker are doing at one moment, read from /proc.

For the post-mortem of a run that is about to be killed: called twice, at its deadline and
right before the kill. It must neither block nor take long, whatever a crew has set up:
threads, tables of sockets and time are bounded. Names are not resolved; an address is told as
the kernel has it.
"""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from supervisor.pool import hardkill
from supervisor.pool.syscalls import Call, call_of

MOST_THREADS = 64
TABLE_BYTES = 256 * 1024
LIMIT_S = 0.005
_TABLES = {b"TCP": "tcp", b"TCPv6": "tcp6", b"UDP": "udp", b"UDPv6": "udp6"}


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
    at = time.monotonic()
    try:
        found = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  # Path objects cost milliseconds
    except OSError:
        return Scene(at)
    tids = sorted(map(int, found), key=lambda tid: (tid != pid, tid))
    threads: list[Thread] = []
    for tid in tids[:MOST_THREADS]:
        if (thread := _thread(pid, tid, briefly=briefly)) is not None:
            threads.append(thread)
        if time.monotonic() >= at + LIMIT_S:
            break
    peers = _peers(pid, threads)
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


def _peers(pid: int, threads: Sequence[Thread]) -> dict[str, str]:
    """Return the far ends of the internet sockets that threads wait for."""
    wanted: defaultdict[str, dict[bytes, str]] = defaultdict(dict)
    for thread in threads:
        for name, fd in zip(thread.on, thread.call.descriptors, strict=True):
            if name.startswith("socket:") and (table := _table_of(pid, fd)):
                wanted[table][name[len("socket:[") : -1].encode()] = name
    # One that is not in its table, or too far down, has a far end that we do not know.
    found = dict.fromkeys((name for names in wanted.values() for name in names.values()), "")
    for table, names in wanted.items():
        with suppress(OSError):
            for line in _read(f"/proc/{pid}/net/{table}", TABLE_BYTES).splitlines()[1:]:
                words = line.split(None, 10)
                if len(words) > 9 and words[9] in names:
                    found[names[words[9]]] = address_of(words[2])
    return found


def _table_of(pid: int, fd: int) -> str:
    """Return which table of /proc/net has this socket; "" for one that leads nowhere.

    Reading a table costs milliseconds on some kernels, however few sockets there are.
    """
    try:
        protocol = os.getxattr(f"/proc/{pid}/fd/{fd}", "system.sockprotoname")
    except OSError:
        return ""
    return _TABLES.get(protocol.rstrip(b"\0"), "")


def address_of(told: bytes) -> str:
    """Return the address that a table of sockets has as hex words in the machine's order.

    >>> address_of(b"0100007F:1F90")
    '127.0.0.1:8080'
    """
    try:
        host, _, port = told.partition(b":")
        raw = bytes.fromhex(host.decode("ascii"))
        packed = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
        if len(packed) == 4:
            return f"{socket.inet_ntop(socket.AF_INET, packed)}:{int(port, 16)}"
        if packed.startswith(bytes(10) + b"\xff\xff"):
            return f"{socket.inet_ntop(socket.AF_INET, packed[12:])}:{int(port, 16)}"
        return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{int(port, 16)}"
    except (ValueError, OSError):
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
