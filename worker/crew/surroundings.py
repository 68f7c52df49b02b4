"""Puts a worker's process back as it was before a crew: environment, umask, timers.

A crew that writes its user's key into os.environ, as many do, would hand it to the next
user's crew; an alarm that it set would end it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from worker.boot import arm_stacks, reset_signals


@contextmanager
def restored() -> Iterator[None]:
    """Restore the surroundings afterwards, whatever happened in them."""
    environ = dict(os.environ)
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        reset_signals()
        arm_stacks()
        if dict(os.environ) != environ:
            os.environ.clear()
            os.environ.update(environ)
        os.umask(umask)
