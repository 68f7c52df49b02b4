"""The first steps of a fresh worker, between the fork and its loop.

Called once, in the forked process, with two descriptors of its own: the socket to the
supervisor and the write end of its log pipe. The order matters and is said at each step.
"""

import faulthandler
import gc
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import setproctitle

from worker.protocol import STACKS_SIGNAL
from worker.system import become_subreaper, die_with_parent

# By number: sys.stderr is a crew's to replace.
STDERR = 2


@dataclass(frozen=True)
class Berth:
    """Where a worker stands: its slot, its descriptors, its parent to be."""

    slot: int
    socket_fd: int
    log_fd: int
    supervisor_pid: int
    intermediate_pid: int
    storage_dir: Path


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
    _move_storage(berth.storage_dir)
    os.umask(0o077)
    # Last of all, after adoption: the wish is bound to the parent of this moment (trap O3).
    die_with_parent()
    if os.getppid() != berth.supervisor_pid:
        os._exit(0)
    gc.enable()
    setproctitle.setproctitle(f"crewpool s{berth.slot} idle")


def reset_signals() -> None:
    """Take away the handlers that plugins and libraries left while they were imported (trap C3)."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(signum) not in (signal.SIG_DFL, None):
            signal.signal(signum, signal.SIG_DFL)
    # Writing to a peer that is gone is an error to handle, not a death.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


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


def _move_storage(folder: Path) -> None:
    """Give CrewAI a folder of this slot's own: its SQLite file is locked by all who share it
    and commits after each task (trap C7).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["CREWAI_STORAGE_DIR"] = str(folder)
    os.chdir(folder)
