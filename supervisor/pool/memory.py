"""How much memory processes have, and which runs have more than they may.

Called by the loop, which never waits here: a look costs some microseconds a worker, and one
reading of /proc for the programs that crews started. It kills nothing.
"""

import os
import re

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SHARE = re.compile(rb"^Pss:\s*(\d+) kB", re.MULTILINE)


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, what it shares with others included; 0 when
    it is gone.
    """
    return _resident(pid)[0]


def file_bytes(pid: int) -> int:
    """Return the part of it that are files, which all that map them share; 0 when it is gone."""
    return _resident(pid)[1]


def anonymous_bytes(pid: int) -> int:
    """Return the part of it that are no files: after a fork what it inherited, and its own."""
    resident, files = _resident(pid)
    return resident - files


def share_bytes(pid: int) -> int:
    """Return a process's memory with its fair share of what it shares (PSS): right for a sum
    over several, and dear, 1 to 2 ms for one with crewai. 0 when it is gone or not ours to see.
    """
    return _kilobytes(_SHARE, _read(pid, "smaps_rollup"))


def fresh_worker_bytes(zygote_pid: int) -> int:
    """Return what a worker has before its first run, nearly all of it shared with its zygote.

    A limit below this would kill every run at once.
    """
    return rss_bytes(zygote_pid)


def _resident(pid: int) -> tuple[int, int]:
    fields = _read(pid, "statm").split()
    return (int(fields[1]) * PAGE_BYTES, int(fields[2]) * PAGE_BYTES) if fields else (0, 0)


def _kilobytes(line: re.Pattern[bytes], text: bytes) -> int:
    found = line.search(text)
    return int(found[1]) * 1024 if found else 0


def _read(pid: int, name: str) -> bytes:
    try:
        # open(): Path objects cost more than the reading.
        with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123  # see above
            return file.read()
    except OSError:
        return b""  # gone in between, or another user's
