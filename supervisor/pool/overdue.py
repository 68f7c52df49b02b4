"""Who must go, and when to look again. Facts of one handle in, a verdict out.

Called by the pool. A last look into the socket comes before each verdict: a run that ended
in time is not killed because we were late.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

from supervisor.pool import hardkill
from supervisor.pool.deadlines import Step
from supervisor.pool.handle import Handle, Running, State
from supervisor.pool.lastwords import LastWords, has_answered
from supervisor.pool.reaper import Corpse
from supervisor.pool.scene import read_scene
from worker.protocol import STACKS_SIGNAL, Outcome

# A worker that dies closes its socket a moment before it can be reaped; one that closed it
# and lives on is of no use.
EOF_GRACE_S = 0.2
BOOT_TIMEOUT = "boot_timeout"


def verdict_on(handle: Handle, now: float, boot_timeout_s: float) -> str:
    """Return why this worker must go, or "". Asks for its stacks where a run overran."""
    because = _fault_of(handle, now, boot_timeout_s)
    return "" if because and _spoke_up(handle, now) else because


def hold_back(handles: Iterable[Handle], now: float) -> None:
    """Stop what the runs have started that were asked for their stacks at this moment.

    All at once: many may be over together. Not where a grace lets children end as well.
    """
    asked = {
        handle.pid
        for handle in handles
        if handle.pid is not None and handle.run is not None
        if handle.run.deadline.asked_at == now and not handle.run.deadline.grace_s
    }
    if asked:
        hardkill.stop_below(asked)


def boot_fault(handle: Handle, corpse: Corpse, boot_timeout_s: float) -> str:
    """Say why a worker that is gone was never ready, "" when it was, or was never forked."""
    if handle.doomed_because == BOOT_TIMEOUT:
        return f"a worker was not ready after {boot_timeout_s:g}s"
    if handle.state is not State.BOOTING or handle.pid is None:
        return ""
    said = f" ({handle.lines.last})" if handle.lines.last else ""
    return f"a worker ended at boot with {corpse.how()}{said}"


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
        # The wish for stacks may have interrupted it in the middle of a frame.
        is_late = handle.run is not None and handle.run.deadline.is_over
        return handle.run.deadline.because if handle.run and is_late else "broken_protocol"
    if handle.eof_at is not None:
        return "closed_socket" if now >= handle.eof_at + EOF_GRACE_S else ""
    return _overrun_of(handle, now) if handle.state is State.BUSY else ""


def _overrun_of(handle: Handle, now: float) -> str:
    if (run := handle.run) is None or handle.pid is None:
        return ""
    step = run.deadline.step(now, has_told=_has_told(run, handle.pid))
    if step is Step.STACKS and not _spoke_up(handle, now):
        _ask_for_stacks(handle, run, handle.pid, now)
    elif step is Step.WARN and not _spoke_up(handle, now):
        run.deadline = run.deadline.warned(now)
        _warn(handle.pid)
    elif step is Step.NOTHING and run.deadline.is_over:
        run.deadline = run.deadline.looked(now)
    return run.deadline.because if step is Step.KILL or run.left_off_late else ""


def _ask_for_stacks(handle: Handle, run: Running, pid: int, now: float) -> None:
    run.deadline = run.deadline.asked(now)
    # Before the signal, which wakes the crew from whatever it waits for.
    run.scenes.append(read_scene(pid))
    run.last_words = handle.lines.overhear = LastWords()
    _send(pid, STACKS_SIGNAL)


def _has_told(run: Running, pid: int) -> bool:
    return run.last_words is not None and run.last_words.have_begun and has_answered(pid)


def _warn(pid: int) -> None:
    """Tell the whole tree that its time is over; children first, or a shell starts the next."""
    for below in (*hardkill.descendants(pid), pid):
        _send(below, signal.SIGTERM)


def _send(pid: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def _spoke_up(handle: Handle, now: float) -> bool:
    """Whether the worker has ended its run in time after all."""
    if handle.faulty:
        return False
    handle.read(now)
    return any(isinstance(word, Outcome) for word in handle.inbox)
