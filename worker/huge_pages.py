"""Asks the kernel to keep a process's memory in huge pages, where it can (Linux 6.1 and later).

Called by the zygote when it has imported all. A fork copies an entry of the page tables for each
page, and the end of a process gives each of them back: 41,000 of 4 KiB with CrewAI loaded, or
80 huge ones and the rest. What a worker writes to is copied by 4 KiB all the same.
"""

import ctypes
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Of asm-generic/mman-common.h. It does what it says at once, whatever the system's setting is.
_MADV_COLLAPSE = 25
_SIZE = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
# Private, ours to write, of no file: the heap, and what was asked for with mmap().
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\]|\[anon:.*|)")


def use() -> None:
    """Move what memory we have now into huge pages; what cannot be stays as it is."""
    libc = ctypes.CDLL(None)
    with suppress(OSError, ValueError):  # a kernel without huge pages
        size = int(_SIZE.read_text("ascii"))
        for start, length in list(_ranges(size)):
            # Refused by a kernel that does not know how, or has no room: all is as before.
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_COLLAPSE)


def _ranges(size: int) -> Iterator[tuple[int, int]]:
    """Yield start and length of all memory that huge pages may hold."""
    for line in Path("/proc/self/maps").read_text("utf-8", "replace").splitlines():
        if match := _MAPPING.fullmatch(line):
            start = -(-int(match[1], 16) // size) * size
            end = int(match[2], 16) // size * size
            if start < end:
                yield start, end - start
