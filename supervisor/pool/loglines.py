"""Cuts what a crew prints into lines of bounded length and number.

A crew can print gigabytes; its log must neither fill ours nor keep the loop busy. What is
above the budget is dropped and counted.
"""

from collections.abc import Callable

from supervisor.pool.lastwords import LastWords

# What is kept of a line until it ends: the journal masks credentials in all of it and cuts
# afterwards, or a credential that lies across the cut would show its head.
LONGEST = 16_384
BURST_LINES = 500
LINES_PER_S = 100.0


class LogLines:
    """The unfinished line of one worker, and its budget: a bucket that refills with time."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_skipping = False
        self._budget = float(BURST_LINES)
        self._refilled_at: float | None = None
        self.dropped = 0
        self.last = ""
        # Hears every line, also those above the budget: stacks may come behind a flood.
        self.overhear: LastWords | None = None

    @property
    def is_flooding(self) -> bool:
        """Whether the crew prints faster than we are willing to read."""
        return self._budget < 1

    def feed(self, data: bytes, tell: Callable[[str], None], now: float) -> None:
        """Take bytes in and tell each complete line; at the end (b"") what is left."""
        passed_s = now - self._refilled_at if self._refilled_at is not None else 0.0
        self._budget = min(self._budget + passed_s * LINES_PER_S, float(BURST_LINES))
        self._refilled_at = now
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._is_skipping and lines:
            lines, self._is_skipping = lines[1:], False
        if self._is_skipping:
            self._rest = b""
            self._budget = max(self._budget - len(data) / LONGEST, 0.0)
        elif not data or len(self._rest) > LONGEST:
            lines.append(self._rest)
            # The rest of an endless line is nobody's reading.
            self._rest, self._is_skipping = b"", bool(data)
        for line in lines:
            self._pass(line, tell)

    def take_dropped(self) -> int:
        """Return how many lines were dropped since the last call."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def _pass(self, line: bytes, tell: Callable[[str], None]) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if self.overhear is not None:
            self.overhear.hear(text)
        if self.is_flooding:
            self.dropped += 1
            return
        # Blank lines are not shown, but they are read.
        self._budget -= 1
        if not text:
            return
        self.last = text[:LONGEST]
        tell(text[:LONGEST])
