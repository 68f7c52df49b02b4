"""The first steps of a fresh worker, between the fork and its loop.

Called once, in the forked process, with two descriptors of its own: the socket to the
supervisor and the write end of its log pipe. The order matters and is said at each step.
"""

# What signal wraps: its enums would cost each worker 0.2 MB of copied pages.
import _signal  # type: ignore[import-not-found]  # no stub has it
import faulthandler
import gc
import os
import random
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import setproctitle

from worker.errors import LimitTooLow
from worker.leftovers import make_folder
from worker.protocol import STACKS_SIGNAL
from worker.system import become_subreaper, die_with_parent

# By number: sys.stderr is a crew's to replace.
STDERR = 2


@dataclass(frozen=True)
class Berth:
    """Where a worker stands: its slot, its descriptors, its parent to be.

    `limits` are rlimits by their names without RLIMIT_.
    """

    slot: int
    socket_fd: int
    log_fd: int
    supervisor_pid: int
    intermediate_pid: int
    storage_dir: Path
    limits: Mapping[str, int]


def settle(berth: Berth) -> None:
    """Make a process of its own of the zygote's copy. Leaves by os._exit when orphaned."""
    # The intermediate parent exits right after our fork. Its pid is told, not asked for: it
    # may be gone before we look, and the supervisor with it.
    while os.getppid() == berth.intermediate_pid:
        time.sleep(0)
    # A session of our own: the terminal's Ctrl-C is the supervisor's business, and a crew
    # that kills its process group must not hit us all.
    os.setsid()
    # Daemons of the crew stay in our tree, where the hard kill finds them (trap O4).
    become_subreaper()
    reset_signals()
    _keep_only(berth.socket_fd, berth.log_fd)
    _reseed()
    _move_to(berth.storage_dir)
    os.umask(0o077)
    _limit(berth.limits)
    # Last of all, after adoption: the wish is bound to the parent of this moment (trap O3).
    die_with_parent()
    if os.getppid() != berth.supervisor_pid:
        os._exit(0)
    gc.enable()
    setproctitle.setproctitle(f"crewpool s{berth.slot} idle")


def reset_signals() -> None:
    """Take away the handlers that plugins and libraries left while they were imported (trap C3)."""
    for signum in range(1, _signal.NSIG):
        if _signal.getsignal(signum) not in (_signal.SIG_DFL, None):
            _signal.signal(signum, _signal.SIG_DFL)
    # Writing to a peer that is gone, or beyond RLIMIT_FSIZE, is an error to handle, not a death.
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _keep_only(socket_fd: int, log_fd: int) -> None:
    """Keep the standard three and our socket. stdin reads nothing; the crew cannot ask."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    # Children of the crew get 0, 1 and 2 only: whoever holds the socket could speak for us.
    os.set_inheritable(socket_fd, False)  # positional-only in the library
    os.closerange(3, socket_fd)
    os.closerange(socket_fd + 1, os.sysconf("SC_OPEN_MAX") if _is_small() else 65536)
    # Line by line, or the last words of a killed crew stay in our buffer. New ones, because
    # those of the zygote may hold its unwritten text, and a position in a file.
    sys.stdout, sys.stderr = _writer(1), _writer(2)
    arm_stacks()


def arm_stacks() -> None:
    """Have faulthandler answer the supervisor's wish for stacks, and tell of a fatal signal."""
    faulthandler.enable(STDERR)
    faulthandler.register(STACKS_SIGNAL, STDERR, all_threads=True)


def _writer(fd: int) -> TextIO:
    return open(  # lives as long as the process
        fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _is_small() -> bool:
    return 0 < os.sysconf("SC_OPEN_MAX") <= 65536


def _limit(limits: Mapping[str, int]) -> None:
    """Set soft and hard limits alike, never above what we were given. Raises LimitTooLow."""
    for name, wanted in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if name == "DATA" and most <= (has := _data_bytes()):
            raise LimitTooLow(name, most, has)
        resource.setrlimit(kind, (most, most))


def _data_bytes() -> int:
    """Return what counts against RLIMIT_DATA: mostly what the zygote has imported."""
    status = Path("/proc/self/status").read_text("utf-8", "replace")
    return int(status.partition("VmData:")[2].split()[0]) * 1024


def _reseed() -> None:
    """All workers are copies of one process: without this they draw the same numbers.

    Generators that a plugin made at import stay as they are (trap O10); docs/plugins.md
    says so.
    """
    random.seed()
    # Only where the zygote has it: numpy loads it on first use, seeded freshly, and asking
    # for it here would cost each worker 15 ms.
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed(int.from_bytes(os.urandom(4), "big"))


def _move_to(folder: Path) -> None:
    """Stand in the slot's own folder, not in that of the supervisor's start."""
    make_folder(folder)
    os.chdir(folder)
