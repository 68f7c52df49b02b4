"""What a run was waiting for when its time was over: a pure decision from two scenes.

The first was seen before the worker was disturbed, the second right before the kill; what
runs in both burns CPU. The crew is called in the first thread, so that its wait counts most;
but a thread that only waits for another (kickoff_async, thread pools) is as good as nothing,
and then the others say what is going on.
"""

from dataclasses import dataclass
from enum import Enum

from supervisor.pool.scene import Scene, Thread

# Share of a core between the scenes from which on a run counts as busy.
BUSY_CORES = 0.5
MOST_PEERS = 8


class Kind(Enum):
    """Why a run made no progress, as far as it can be seen from outside."""

    BURNING_CPU = "burning_cpu"
    WAITING_ON_SOCKET = "waiting_on_socket"
    WAITING_ON_CHILD = "waiting_on_child"
    SLEEPING = "sleeping"
    DEADLOCKED = "deadlocked"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Stall:
    """What a run waited for; `peers` are the far ends when that was a socket, `cores` the CPUs
    it used at the end.
    """

    kind: Kind
    peers: tuple[str, ...] = ()
    cores: float = 0.0
    threads: int = 0


class _Wait(Enum):
    CPU = "cpu"
    SOCKET = "socket"
    CHILD = "child"
    TIMER = "timer"
    # Another thread must wake it: a lock, or an event loop with nothing to wait for.
    OTHERS = "others"
    # The same, but it looks by itself now and then.
    OTHERS_TIMED = "others_timed"
    ELSE = "else"


def stall_of(first: Scene | None, last: Scene | None) -> Stall:
    """Decide from a scene before the end and one right at it."""
    if first is None or not first.threads:
        return Stall(Kind.UNKNOWN)
    cores = _cores(first, last) if last is not None else 0.0
    still_running = {t.tid for t in last.threads if t.state == "R"} if last is not None else set()
    peers = dict(first.peers)
    waits = [_wait_of(thread, peers, has_children=first.has_children) for thread in first.threads]
    burns = any(
        wait is _Wait.CPU and thread.tid in still_running
        for thread, wait in zip(first.threads, waits, strict=True)
    )
    kind = Kind.BURNING_CPU if burns or cores >= BUSY_CORES else _kind_of(waits)
    far = tuple(dict.fromkeys(filter(None, peers.values())))[:MOST_PEERS]
    if kind is not Kind.WAITING_ON_SOCKET:
        far = ()
    elif not peers:
        far = ("local socket",)
    return Stall(kind, far, round(cores, 2), first.count)


def _kind_of(waits: list[_Wait]) -> Kind:
    own, others = waits[0], set(waits[1:])
    for wait, kind in (
        (_Wait.SOCKET, Kind.WAITING_ON_SOCKET),
        (_Wait.CHILD, Kind.WAITING_ON_CHILD),
    ):
        if own is wait or (own is not _Wait.CHILD and wait in others):
            return kind
    if own in (_Wait.TIMER, _Wait.OTHERS_TIMED) or (own is _Wait.OTHERS and _Wait.TIMER in others):
        return Kind.SLEEPING
    # Threads that look now and then (monitors, mostly) wake nobody who waits for a lock.
    is_stuck = own is _Wait.OTHERS and others <= {_Wait.OTHERS, _Wait.OTHERS_TIMED}
    return Kind.DEADLOCKED if is_stuck else Kind.UNKNOWN


def _wait_of(thread: Thread, peers: dict[str, str], *, has_children: bool) -> _Wait:  # noqa: PLR0911  # a table
    name, is_timed = thread.call.name, thread.call.is_timed
    if thread.state == "R":
        return _Wait.CPU
    if any(target in peers for target in thread.on):
        return _Wait.SOCKET
    if name.startswith("wait"):
        return _Wait.CHILD
    if name == "futex":
        return _Wait.OTHERS_TIMED if is_timed else _Wait.OTHERS
    if name.endswith("sleep") or name == "pause":
        return _Wait.TIMER
    if has_children and any(target.startswith("pipe:") for target in thread.on):
        return _Wait.CHILD
    if thread.call.is_on_some:
        # Nothing but pipes and sockets of its own, by which another thread would wake it.
        return _Wait.TIMER if is_timed else _Wait.OTHERS
    if any(_is_socket(target) for target in thread.on):
        return _Wait.CHILD if has_children else _Wait.SOCKET
    return _Wait.ELSE


def _cores(first: Scene, last: Scene) -> float:
    before = {thread.tid: thread.ran_s for thread in first.threads}
    ran_s = sum(t.ran_s - before[t.tid] for t in last.threads if t.tid in before)
    return max(0.0, ran_s / max(last.at - first.at, 1e-6))


def _is_socket(target: str) -> bool:
    return target.startswith("socket:")
