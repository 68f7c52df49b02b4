"""The few calls of Linux that Python does not wrap. No decisions are made here."""

import ctypes
import os
import resource
import signal

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
# The same on all architectures; glibc has no wrapper.
_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000
# It keeps the GIL: after a fork nobody would be there to give it back.
_LIBC_WITH_GIL = ctypes.PyDLL(None)


class _CloneArgs(ctypes.Structure):
    """struct clone_args of the kernel, see clone(2)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack"),
            *("stack_size", "tls", "set_tid", "set_tid_size", "cgroup"),
        )
    )


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fork_into(cgroup_fd: int) -> int:
    """Fork into a control group (an open folder), or where we are when the kernel refuses.

    The child must do no more than fork again, write and leave by os._exit: neither Python nor
    libc know that it is another process. To move a process later takes the kernel 10 to 50 ms.
    """
    args = _CloneArgs(flags=_CLONE_INTO_CGROUP, exit_signal=signal.SIGCHLD, cgroup=cgroup_fd)
    pid = _LIBC_WITH_GIL.syscall(_CLONE3, ctypes.byref(args), ctypes.sizeof(args))
    return int(pid) if pid >= 0 else os.fork()


def become_subreaper() -> None:
    """Become the parent of every orphan among our descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Ask for this signal when the parent's thread ends; 0 takes the wish back.

    It means the parent of this moment (trap O3): the caller re-checks getppid() afterwards.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signum))


def forbid_new_privileges() -> None:
    """Have setuid programs give us, and all that we start, nothing. It cannot be taken back."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_inspection() -> None:
    """Close our /proc entries (environ, mem) to other processes of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def allow_many_descriptors() -> None:
    """Raise the limit of open files to what the system allows.

    The default of 1,024 is for programs that use select(); ours ends where connections that
    somebody leaves open would take the place of a worker's socket.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
