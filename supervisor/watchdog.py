"""Tells systemd that we are ready, alive, reloading or leaving, and how it goes.

The protocol is that of sd_notify(3): lines in a datagram to the socket that NOTIFY_SOCKET
names; sd_watchdog_enabled(3) says how often. Called by the loop itself and by no task or
timer, so that WATCHDOG=1 is proof of its progress. Without NOTIFY_SOCKET it does nothing.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# The loop comes round at least this often, so that liveness can tell a stall from peace.
PULSE_S = 15.0
# A status that changes all the time is told this often.
STATUS_EVERY_S = 1.0
# How long systemd waits beyond its limits for the next word of a start, or of an end.
PATIENCE_S = 60
MOST_CHARACTERS = 200


@dataclass(frozen=True)
class Vitals:
    """How the supervisor is. `status` is a line for people."""

    is_ready: bool
    is_reloading: bool
    is_leaving: bool
    status: str


class Watchdog:
    """Our end of the notify socket. `pulse_s` is how often beat() has to be called."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.pulse_s = PULSE_S
        if self._address and (period_s := _period_s(environ)):
            self.pulse_s = min(PULSE_S, period_s / 2)
        # What systemd knows.
        self._told = Vitals(is_ready=False, is_reloading=False, is_leaving=False, status="")
        self._told_at = float("-inf")
        self._told_ready = False

    def beat(self, look: Callable[[], Vitals | None], now: float) -> None:
        """Tell what has changed, and in each pulse that we are alive; nothing without a look."""
        if not self._address or (vitals := look()) is None:
            return
        news, quiet_s = self._news(vitals), now - self._told_at
        # Not only at the end of a pulse: whoever wakes the loop before it begins a new one.
        is_due = quiet_s >= self.pulse_s / 2
        if vitals.status != self._told.status and quiet_s >= STATUS_EVERY_S:
            is_due = True
        if not news and not is_due:
            return
        lines = [*news, f"STATUS={_line(vitals.status)}", "WATCHDOG=1"]
        if vitals.is_leaving or not (self._told_ready or vitals.is_ready):
            # Redis may be away for long while we start, and crews take long while we drain.
            lines.append(f"EXTEND_TIMEOUT_USEC={PATIENCE_S * 1_000_000}")
        # What could not be told now (systemd is busy, or being replaced) is still to be told.
        if self._send("\n".join(lines)):
            self._told, self._told_at = vitals, now
            self._told_ready |= vitals.is_ready

    def _news(self, vitals: Vitals) -> list[str]:
        if vitals.is_leaving:
            return [] if self._told.is_leaving else ["STOPPING=1"]
        if not self._told_ready:
            return ["READY=1"] if vitals.is_ready else []
        if vitals.is_reloading == self._told.is_reloading:
            return []
        if vitals.is_reloading:
            # Of CLOCK_MONOTONIC, as Type=notify-reload wants it.
            return ["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"]
        return ["READY=1"]

    def _send(self, text: str) -> bool:
        # "@" stands for the abstract namespace.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as door:
                door.sendto(text.encode(), address)
        except OSError:
            return False
        return True


def _line(text: str) -> str:
    """Return a text as one line: a reason that somebody sent must not be words of ours."""
    return "".join(char if char.isprintable() else " " for char in text)[:MOST_CHARACTERS]


def _period_s(environ: Mapping[str, str]) -> float:
    """Return WATCHDOG_USEC in seconds; 0 when it is not meant for this process."""
    if environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid())):
        return 0.0
    period = environ.get("WATCHDOG_USEC", "")
    return int(period) / 1e6 if period.isdecimal() else 0.0
