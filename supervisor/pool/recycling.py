"""Which worker is replaced although it works: it ran often, is old, is large, or leaks.

Pure decisions. The pool asks for idle workers only, in its step of resizing, which comes
before runs are handed out: a worker with somebody's leftovers begins no other run.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.pool.handle import Handle, State

# At once, all workers would be gone: those that began together reach their limits together.
JITTER = 0.1
# More descriptors than after the boot, or threads of libraries, than this are a leak.
MOST_FDS_MORE = 100
MOST_STANDING_THREADS = 256

LEFT_PROCESSES = "left_processes"
LEFT_THREADS = "left_threads"
# What it has run, or what it is to run, has secrets of its own: see fits() in environment.py.
ANOTHER_PLUGIN = "another_plugin"
# What must not be there when the next run begins.
LEAKS = (LEFT_PROCESSES, LEFT_THREADS)
REASONS = (
    *(*LEAKS, "left_descriptors"),
    *("memory_soft", "max_runs", "max_age", ANOTHER_PLUGIN),
)


@dataclass(frozen=True)
class Limits:
    """What the settings say. 0 is no limit."""

    max_runs: int = 0
    max_age_s: float = 0.0


@dataclass(frozen=True)
class Facts:
    """What is known of an idle worker.

    runs, age_s          what it has run, and how long it has been there
    rss_bytes            its memory after its last run; soft_bytes the limit of that run, or 0
    children, threads    left by its crews, as counted here; `standing` threads stay by design
    more_fds             open descriptors more than it began with
    """

    runs: int
    age_s: float
    rss_bytes: int = 0
    soft_bytes: int = 0
    children: int = 0
    threads: int = 0
    standing: int = 0
    more_fds: int = 0


def due(facts: Facts, limits: Limits, stretch: float) -> str:
    """Return why an idle worker must be replaced, "" when it may stay.

    `stretch` is the worker's own, drawn once from 1 - JITTER to 1 + JITTER; 1 run stays 1.
    One that has run nothing is as good as new, whatever its age.

    >>> due(Facts(runs=10, age_s=5), Limits(max_runs=10), 1.0)
    'max_runs'
    >>> due(Facts(runs=10, age_s=5), Limits(max_runs=10), 1.1)
    ''
    """
    if facts.runs == 0:
        return ""
    is_over = {
        LEFT_PROCESSES: facts.children > 0,
        LEFT_THREADS: facts.threads > 0 or facts.standing > MOST_STANDING_THREADS,
        "left_descriptors": facts.more_fds > MOST_FDS_MORE,
        "memory_soft": 0 < facts.soft_bytes < facts.rss_bytes,
        "max_runs": limits.max_runs > 0 and facts.runs >= most_runs(limits, stretch),
        "max_age": limits.max_age_s > 0 and facts.age_s >= oldest_s(limits, stretch),
    }
    return next((because for because, is_so in is_over.items() if is_so), "")


def most_runs(limits: Limits, stretch: float) -> int:
    """Return how many runs a worker with this stretch has."""
    return max(1, round(limits.max_runs * stretch))


def oldest_s(limits: Limits, stretch: float) -> float:
    """Return the age at which a worker with this stretch goes."""
    return limits.max_age_s * stretch


class Recycling:
    """Asks for workers as the pool knows them. `uniform` draws a number between two."""

    def __init__(
        self, limits: Limits, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._limits = limits
        self._uniform = uniform

    def draw(self) -> float:
        """Return the stretch of one more worker."""
        return self._uniform(1 - JITTER, 1 + JITTER)

    def due(self, handle: Handle, now: float) -> str:
        """Return why an idle worker must be replaced, "" when it may stay."""
        left = handle.left
        facts = Facts(
            runs=handle.runs_done,
            age_s=now - handle.ordered_at,
            rss_bytes=handle.rss_bytes,
            soft_bytes=handle.soft_bytes,
            children=left.all_children,
            threads=left.all_threads,
            standing=left.standing,
            more_fds=left.more_fds,
        )
        return due(facts, self._limits, handle.stretch)

    def is_in_last_run(self, handle: Handle) -> bool:
        """Whether a worker has a run after which it goes, whatever comes of it."""
        if not self._limits.max_runs or handle.state is not State.BUSY:
            return False
        return handle.runs_done + 1 >= most_runs(self._limits, handle.stretch)

    def alarm(self, handle: Handle) -> float | None:
        """Return when an idle worker is too old; None when that is not awaited."""
        if not self._limits.max_age_s or handle.runs_done == 0 or handle.state is not State.IDLE:
            return None
        return handle.ordered_at + oldest_s(self._limits, handle.stretch)
