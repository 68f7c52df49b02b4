"""Lets the number of slots follow the backlog and the CPU, where max_workers asks for it.

The loop's way to scaling.py: it reads the facts, and carries out what is wanted.
"""

from supervisor.cpus import Meter
from supervisor.scaling import EVERY_S, Load, Scaling
from supervisor.standing import Standing
from supervisor.verdicts import SCALED_DOWN
from supervisor.wiring import Parts


class Following:
    """Changes the size of one supervisor now and then; without bounds it does nothing."""

    def __init__(self, parts: Parts, standing: Standing) -> None:
        self._parts = parts
        self._standing = standing
        self._meter = Meter()
        self._scaling = Scaling(standing.bounds) if standing.bounds else None
        self._look_at = 0.0

    def follow(self) -> None:
        """Want more or fewer slots, if it is time to look."""
        standing, now = self._standing, self._parts.clock()
        if self._scaling is None or now < self._look_at or standing.phase.is_leaving:
            return
        self._look_at = now + EVERY_S
        before = standing.size
        size, because = self._scaling.wanted(before, self._load(now), now)
        if size != before:
            self._parts.log.info("scaled", workers=size, before=before, because=because)
            standing.resize(size)
            self._parts.ledger.stop_wanting(size, SCALED_DOWN)
            self._parts.heartbeat.soon()

    def next_alarm(self) -> float | None:
        """Return when to look again; None while nothing is in hand and nothing to give up."""
        standing = self._standing
        if self._scaling is None or not standing.follows or standing.phase.is_leaving:
            return None
        is_smallest = standing.bounds is not None and standing.size == standing.bounds.fewest
        is_at_rest = is_smallest and not self._parts.ledger.in_hand
        return None if is_at_rest else self._look_at

    def _load(self, now: float) -> Load:
        parts, size = self._parts, self._standing.size
        return Load(
            # Those above finish what they have, and are no reason to want them again.
            busy=sum(slot < size for slot in parts.ledger.in_hand),
            backlog=sum(parts.keeper.gauges.lag.values()),
            cpu=self._meter.share(now),
            takes=self._is_taking(now),
        )

    def _is_taking(self, now: float) -> bool:
        is_able = self._standing.taking_size > 0 and self._parts.link.is_up
        return is_able and not self._parts.admission.refuses(now)
