"""Who must go, and when to look again. Facts of one handle in, a verdict out.

Called by the pool. A last look into the socket comes before each verdict: a run that ended
in time is not killed because we were late.
"""

import os

from supervisor.pool.deadlines import Step
from supervisor.pool.handle import Handle, State
from worker.protocol import STACKS_SIGNAL, Outcome

# A worker that dies closes its socket a moment before it can be reaped; one that closed it
# and lives on is of no use.
EOF_GRACE_S = 0.2
TIMEOUT = "timeout"
BOOT_TIMEOUT = "boot_timeout"


def verdict_on(handle: Handle, now: float, boot_timeout_s: float) -> str:
    """Return why this worker must go, or "". Asks for its stacks where a run overran."""
    because = _fault_of(handle, now, boot_timeout_s)
    return "" if because and _spoke_up(handle, now) else because


def alarm_of(handle: Handle, boot_timeout_s: float) -> float | None:
    """Return when verdict_on() may answer differently, or None."""
    if handle.state is State.BOOTING:
        return handle.ordered_at + boot_timeout_s
    if handle.state is State.DOOMED:
        return None
    if handle.inbox or handle.faulty:
        return 0.0
    if handle.eof_at is not None:
        return handle.eof_at + EOF_GRACE_S
    return handle.run.deadline.next_alarm() if handle.run else None


def _fault_of(handle: Handle, now: float, boot_timeout_s: float) -> str:
    if handle.state is State.DOOMED:
        return ""
    if handle.state is State.BOOTING and now >= handle.ordered_at + boot_timeout_s:
        return BOOT_TIMEOUT
    if handle.faulty:
        return "broken_protocol"
    if handle.eof_at is not None:
        return "closed_socket" if now >= handle.eof_at + EOF_GRACE_S else ""
    return _overrun_of(handle, now) if handle.state is State.BUSY else ""


def _overrun_of(handle: Handle, now: float) -> str:
    if handle.run is None:
        return ""
    step = handle.run.deadline.step(now)
    if step is Step.STACKS and handle.pid is not None and not _spoke_up(handle, now):
        handle.run.deadline = handle.run.deadline.with_stacks(now)
        os.kill(handle.pid, STACKS_SIGNAL)
    return TIMEOUT if step is Step.KILL else ""


def _spoke_up(handle: Handle, now: float) -> bool:
    """Whether the worker has ended its run in time after all."""
    if handle.faulty:
        return False
    handle.read(now)
    return any(isinstance(word, Outcome) for word in handle.inbox)
