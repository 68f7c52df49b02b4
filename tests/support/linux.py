"""What the tests ask of the kernel: die with pytest, adopt orphans, look into /proc.

Written anew, although the worker has such calls too: the check side never uses the code
under test.
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Looked up now: between fork and exec nothing may load a library.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_pytest():
    """Run in a child, between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans():
    """Become the parent of every process that a dead supervisor leaves behind.

    Then nothing can get away unseen, whatever session or environment it made for itself.
    """
    assert _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def is_alive(pid):
    """Whether a process still runs. A zombie does not: it waits for its parent only."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_headless(pid):
    """Whether a process has lost its first thread and runs on in others: it looks like a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[17]) > 1


def living_below(pid, title=""):
    """The processes below one that still run and whose title begins so."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [p for p in below if is_alive(p.pid) and title_of(p).startswith(title)]


def title_of(process):
    """What `ps` shows for a process, "" when it is gone."""
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""


def collect(pid):
    """Reap an orphan that we adopted, if it is one of ours and over."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def kill(pid, signum=signal.SIGKILL):
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


def cpu_s(pid):
    """Processor time that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def signals_of(pid):
    """The signals that a process ignores and catches, as sets of numbers."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {
        word: {n for n in range(1, 65) if int(masks[field], 16) >> (n - 1) & 1}
        for word, field in (("ignored", "SigIgn"), ("caught", "SigCgt"))
    }


def pid_in(file):
    return wait_until(lambda: file.exists() and int(file.read_text()), what=f"{file.name} is there")
