"""The one place that reaps (trap O5), and the words for how a process ended."""

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True)
class Corpse:
    """A process that ended: wait status, and what it and its children used in their lives."""

    pid: int
    status: int
    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    max_rss_bytes: int = 0
    minor_faults: int = 0
    major_faults: int = 0

    @property
    def cpu_s(self) -> float:
        """All its processor time."""
        return self.cpu_user_s + self.cpu_system_s

    @property
    def signal(self) -> int | None:
        """The signal that ended it, or None."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    def how(self) -> str:
        """Say how it ended, from the facts."""
        if self.signal is None:
            return f"exit {os.waitstatus_to_exitcode(self.status)}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


def reap() -> list[Corpse]:
    """Collect every child that ended, our own and those we adopted."""
    corpses: list[Corpse] = []
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return corpses
        if pid == 0:
            return corpses
        corpses.append(
            Corpse(
                pid,
                status,
                cpu_user_s=usage.ru_utime,
                cpu_system_s=usage.ru_stime,
                max_rss_bytes=usage.ru_maxrss * 1024,
                minor_faults=usage.ru_minflt,
                major_faults=usage.ru_majflt,
            )
        )
