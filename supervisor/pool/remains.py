"""What a run left behind in its worker: what the worker told of it, and what we see ourselves.

Threads, descriptors and children are counted again from outside, because a crew may have
patched what the worker counts with. Called by the pool at each outcome.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from supervisor.pool import hardkill
from supervisor.pool.usage import Usage
from worker.protocol import MOST_NAMES, Left

# Where the kernel does not list children (CONFIG_PROC_CHILDREN), a look is a walk through
# /proc, a millisecond: in between, the worker's own count must do.
WALK_EVERY_S = 0.1
NOT_TOLD = "(not told)"


@dataclass(frozen=True)
class Remains:
    """What is left. `threads` and `children` are names, as far as the worker told them.
    `fds` includes `sockets`, `open` says what they are.

    `all_threads` are those that no library keeps; `standing` are the others; `more_fds` are
    descriptors more than the worker had when it began its first run.
    """

    threads: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    all_threads: int = 0
    all_children: int = 0
    standing: int = 0
    fds: int = 0
    sockets: int = 0
    open: tuple[str, ...] = ()
    rss_bytes: int = 0
    more_fds: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many things of each kind were left, for the metric."""
        return {
            "threads": self.all_threads,
            "children": self.all_children,
            "sockets": self.sockets,
            "files": max(0, self.fds - self.sockets),
        }


def of_run(told: Left, seen: Usage, children: Collection[int], more_fds: int) -> Remains:
    """Put together what the worker told and what is `seen` from outside."""
    hidden = seen.threads - 1 - told.standing - len(told.threads)
    told_pids = {name.partition(" ")[0] for name in told.children}
    hidden_children = [f"{pid} {NOT_TOLD}" for pid in children if str(pid) not in told_pids]
    return Remains(
        threads=(*told.threads, *([NOT_TOLD] if hidden > 0 else [])),
        children=(*told.children, *hidden_children)[:MOST_NAMES],
        all_threads=len(told.threads) + max(0, hidden),
        all_children=len(told.children) + len(hidden_children),
        standing=told.standing,
        fds=told.fds,
        sockets=min(told.sockets, told.fds),
        open=told.open,
        rss_bytes=told.rss_bytes,
        more_fds=more_fds,
    )


class Lookout:
    """Finds the children of workers."""

    def __init__(self) -> None:
        self._has_lists = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # noqa: PTH110  # dear
        self._walk_at = 0.0

    def children_of(self, pid: int, now: float) -> set[int]:
        """Return the children of a process that run; none when we looked a moment ago."""
        if self._has_lists:
            # They hold the dead, too: whoever is listed deserves the walk.
            return hardkill.children_of(pid) if _has_listed(pid) else set()
        if now < self._walk_at:
            return set()
        self._walk_at = now + WALK_EVERY_S
        return hardkill.children_of(pid)


def open_fds(pid: int) -> int:
    """Return how many descriptors a process has open; 0 when that is not ours to see."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # Path objects cost more
    return 0


def _has_listed(pid: int) -> bool:
    with suppress(OSError):
        # Each thread has a list of its own: of what it forked, and what it was given to raise.
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # Path objects cost more
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123  # see above
                if file.read(1):
                    return True
    return False
