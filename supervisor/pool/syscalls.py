"""In which system call a thread waits, and for what: /proc/<pid>/task/<tid>/syscall.

The numbers are those of Linux on x86-64 and on 64-bit ARM (asm/unistd.h); elsewhere, and
where the file may not be read, the name of the kernel function it sleeps in must do (wchan).
Nothing here blocks: memory of the thread is read as it stands, and what is wrong in it
yields nothing.
"""

import errno
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

MOST_DESCRIPTORS = 64
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_X86_64 = """
    0 read, 19 readv, 45 recvfrom, 47 recvmsg, 42 connect, 43 accept, 288 accept4,
    1 write, 20 writev, 44 sendto, 46 sendmsg, 7 poll, 271 ppoll, 23 select, 270 pselect6,
    232 epoll_wait, 281 epoll_pwait, 441 epoll_pwait2, 202 futex, 61 wait4, 247 waitid,
    35 nanosleep, 230 clock_nanosleep, 34 pause
"""
_AARCH64 = """
    63 read, 65 readv, 207 recvfrom, 212 recvmsg, 203 connect, 202 accept, 242 accept4,
    64 write, 66 writev, 206 sendto, 211 sendmsg, 73 ppoll, 72 pselect6,
    22 epoll_pwait, 441 epoll_pwait2, 98 futex, 260 wait4, 95 waitid,
    101 nanosleep, 115 clock_nanosleep
"""
_TABLE = {"x86_64": _X86_64, "aarch64": _AARCH64}.get(platform.machine(), "")
_NAMES = {int(number): name for number, name in map(str.split, filter(None, _TABLE.split(",")))}
# What a sleep inside the kernel is called, where the number of the call is hidden.
_KERNEL_NAMES = (
    ("futex", "futex"),
    ("nanosleep", "nanosleep"),
    ("do_wait", "wait4"),
    ("ep_poll", "epoll_wait"),
    ("poll", "poll"),
    ("select", "poll"),
    ("pipe", "read"),
    ("unix_stream", "recvfrom"),
    ("wait_for_more_packets", "recvfrom"),
    ("sk_wait_data", "recvfrom"),
    ("inet_", "connect"),
)
_ON_ONE = ("read", "recv", "connect", "accept", "write", "send")


@dataclass(frozen=True)
class Call:
    """A system call that a thread waits in: "" when it is in none, or in one we do not know.

    `is_timed`: it ends by itself.
    """

    name: str = ""
    descriptors: tuple[int, ...] = ()
    is_timed: bool = False

    @property
    def is_on_some(self) -> bool:
        """Whether it waits for any of several descriptors, as event loops do."""
        return "poll" in self.name or "select" in self.name


def call_of(pid: int, tid: int) -> Call:
    """Return what a thread waits in."""
    try:
        words = _text(f"/proc/{pid}/task/{tid}/syscall").split()
        name = _NAMES.get(int(words[0]), "")
        arguments = [int(word, 16) for word in words[1:7]]
    except (OSError, ValueError, IndexError):
        name, arguments = "", []
    if not name or len(arguments) < 6:
        return Call(_kernel_name(pid, tid))
    if name.startswith(_ON_ONE):
        return Call(name, (arguments[0],))
    with suppress(OSError, struct.error, ValueError):
        if "epoll" in name:
            return _epoll(pid, name, arguments)
        if "poll" in name:
            return _poll(pid, name, arguments)
        if "select" in name:
            return _select(pid, name, arguments)
    is_timed = bool(arguments[3]) if name == "futex" else name.endswith("nanosleep")
    return Call(name, is_timed=is_timed)


def _kernel_name(pid: int, tid: int) -> str:
    try:
        told = _text(f"/proc/{pid}/task/{tid}/wchan")
    except OSError:
        return ""
    return next((name for part, name in _KERNEL_NAMES if part in told), "")


def _poll(pid: int, name: str, arguments: list[int]) -> Call:
    count = min(arguments[1], MOST_DESCRIPTORS)
    data = _memory(pid, arguments[0], 8 * count) if count else b""
    fds = tuple(fd for fd, _wanted, _seen in struct.iter_unpack("=ihh", data) if fd >= 0)
    is_timed = _is_positive(arguments[2]) if name == "poll" else bool(arguments[2])
    return Call(name, fds, is_timed)


def _select(pid: int, name: str, arguments: list[int]) -> Call:
    size = (min(arguments[0], 1024) + 7) // 8
    found: set[int] = set()
    for address in arguments[1:3]:
        bits = int.from_bytes(_memory(pid, address, size), "little") if address else 0
        found |= set(_bits(bits))
    return Call(name, tuple(sorted(found))[:MOST_DESCRIPTORS], bool(arguments[4]))


def _epoll(pid: int, name: str, arguments: list[int]) -> Call:
    lines = _text(f"/proc/{pid}/fdinfo/{arguments[0]}").splitlines()
    fds = [int(line.split()[1]) for line in lines if line.startswith("tfd:")]
    is_timed = bool(arguments[3]) if name.endswith("2") else _is_positive(arguments[3])
    return Call(name, tuple(fds[:MOST_DESCRIPTORS]), is_timed)


def _is_positive(argument: int) -> bool:
    """Whether an int among the arguments, of which the upper half may be anything, is no -1."""
    return argument & 0xFFFFFFFF < 0x80000000


def _bits(value: int) -> Iterator[int]:
    return (place for place in range(value.bit_length()) if value >> place & 1)


def _memory(pid: int, address: int, size: int) -> bytes:
    """Read what a thread pointed the kernel at. Raises OSError.

    Only pages that are in memory: to fetch one could block us, for ever if the crew minds its
    own page faults.
    """
    pages = range(address // PAGE_BYTES, (address + size - 1) // PAGE_BYTES + 1)
    for page in pages:
        (entry,) = struct.unpack("=Q", _pread(f"/proc/{pid}/pagemap", 8, page * 8))
        if not entry >> 63:
            raise OSError(errno.EFAULT, "not in memory")
    return _pread(f"/proc/{pid}/mem", size, address)


def _pread(path: str, size: int, place: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, place)
    except OverflowError:
        return b""
    finally:
        os.close(fd)


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123  # read often
        return file.read(16_384)
