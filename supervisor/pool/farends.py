"""Who is on the other end of a process's internet sockets.

The kernel is asked by netlink (sock_diag(7)), which leaves out the connections that wait for
their end; after a busy minute these are thousands, and all stand in /proc/net/tcp. That file
is for kernels without it, and for a crew with a network of its own.
"""

import os
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

# Of our CPU: on a busy machine more time passes, in which nothing is lost but ours.
LIMIT_S = 0.008
TABLE_BYTES = 256 * 1024
READ_BYTES = 1 << 17


class Protocol(NamedTuple):
    """A protocol: its table in /proc/net, its family, its number."""

    table: str
    family: int
    number: int


_PROTOCOLS = {
    b"TCP": Protocol("tcp", socket.AF_INET, socket.IPPROTO_TCP),
    b"TCPv6": Protocol("tcp6", socket.AF_INET6, socket.IPPROTO_TCP),
    b"UDP": Protocol("udp", socket.AF_INET, socket.IPPROTO_UDP),
    b"UDPv6": Protocol("udp6", socket.AF_INET6, socket.IPPROTO_UDP),
}
# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI48x")
_FOUND = struct.Struct(">xxxxHH16s16s4x8x16xI")
# All but those that wait for their end (6) and those that listen (10).
_STATES = 0xFFF & ~(1 << 6 | 1 << 10)


def far_ends(pid: int, descriptors: Mapping[str, int]) -> dict[str, str]:
    """Return the far ends of those among a process's sockets that are internet sockets.

    `descriptors` are the sockets' descriptors by their names ("socket:[inode]"). What is not
    found, as while a connection is being made, is "".
    """
    wanted: defaultdict[Protocol, dict[int, str]] = defaultdict(dict)
    for name, fd in descriptors.items():
        if (protocol := _protocol_of(pid, fd)) is not None:
            wanted[protocol][int(name[len("socket:[") : -1])] = name
    found = dict.fromkeys((name for names in wanted.values() for name in names.values()), "")
    for protocol, names in wanted.items():
        ends = _asked if _shares_our_network(pid) else _read
        with suppress(OSError, struct.error, ValueError):
            for inode, end in ends(protocol, pid):
                if inode in names:
                    found[names[inode]] = end
    return found


def _protocol_of(pid: int, fd: int) -> Protocol | None:
    try:
        name = os.getxattr(f"/proc/{pid}/fd/{fd}", "system.sockprotoname")
    except OSError:
        return None
    return _PROTOCOLS.get(name.rstrip(b"\0"))


def _shares_our_network(pid: int) -> bool:
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/ns/net") == os.stat("/proc/self/ns/net")  # noqa: PTH116  # hot
    return False


def _asked(protocol: Protocol, pid: int) -> Iterator[tuple[int, str]]:
    try:
        yield from _dumped(protocol)
    except (OSError, struct.error):
        yield from _read(protocol, pid)


def _dumped(protocol: Protocol) -> Iterator[tuple[int, str]]:
    """Yield inode and far end of each socket. Raises OSError when the kernel does not tell."""
    until = time.thread_time() + LIMIT_S
    request = _REQUEST.pack(protocol.family, protocol.number, 0, 0, _STATES)
    head = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
        # What is asked is answered within the call; there is nothing to wait for.
        link.setblocking(False)
        link.send(head + request)
        while time.thread_time() < until:
            data, place = link.recv(READ_BYTES), 0
            while place < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, place)
                if kind == _DONE:
                    return
                if kind == _ERROR or length < _HEADER.size:
                    raise OSError("sock_diag refused")
                yield _end_in(data, place + _HEADER.size, protocol.family)
                place += (length + 3) & ~3


def _end_in(data: bytes, place: int, family: int) -> tuple[int, str]:
    _port, port, _own, far, _rest = _FOUND.unpack_from(data, place)
    # The inode alone is in the machine's order.
    (inode,) = struct.unpack_from("=I", data, place + _FOUND.size - 4)
    return inode, _told(family, far if family == socket.AF_INET6 else far[:4], port)


def _read(protocol: Protocol, pid: int) -> Iterator[tuple[int, str]]:
    with open(f"/proc/{pid}/net/{protocol.table}", "rb") as file:  # noqa: PTH123  # hot
        for line in file.read(TABLE_BYTES).splitlines()[1:]:
            words = line.split(None, 10)
            if len(words) > 9 and words[9].isdigit():
                yield int(words[9]), address_of(words[2])


def address_of(told: bytes) -> str:
    """Return the address that a table of sockets has as hex words in the machine's order.

    >>> address_of(b"0100007F:1F90")
    '127.0.0.1:8080'
    """
    try:
        host, _, port = told.partition(b":")
        raw = bytes.fromhex(host.decode("ascii"))
        packed = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        return _told(family, packed, int(port, 16))
    except (ValueError, OSError):
        return ""


def _told(family: int, packed: bytes, port: int) -> str:
    if family == socket.AF_INET:
        return f"{socket.inet_ntop(socket.AF_INET, packed)}:{port}"
    if packed.startswith(bytes(10) + b"\xff\xff"):
        return f"{socket.inet_ntop(socket.AF_INET, packed[12:])}:{port}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{port}"
