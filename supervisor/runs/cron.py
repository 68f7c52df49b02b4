"""When a cron line is due, in a time zone. Pure.

Lines are read as Debian's cron reads them (the library cronsim): a time that a change of the
clocks leaves out is due right after the gap, one that comes twice is due the first time. Lines
with `*` for minutes or hours go by the time that passes, so each hour of such a night counts.
"""

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from cronsim import CronSim, CronSimError

from worker.errors import CrewpoolError

MOST_COUNTED = 10_000
"""Of so many missed times and more nobody wants the number."""
_LONGEST = 200
_BACK = tuple(timedelta(days=days) for days in (0.04, 1, 32, 366, 366 * 9))
_FIELDS = (
    ("minute", "0 to 59", "30 or */15"),
    ("hour", "0 to 23", "7 or 8-18"),
    ("day of the month", "1 to 31, or L for the last", "1 or 1,15"),
    ("month", "1 to 12, or JAN to DEC", "6 or */3"),
    ("day of the week", "0 to 7, or SUN to SAT", "1-5 or MON"),
)


class CronInvalid(CrewpoolError):  # noqa: N818  # named for what happened
    """The line or its time zone is none. A retry cannot help."""

    is_retryable = False

    def __init__(self, told: str, next_step: str) -> None:
        self.next_step = next_step
        super().__init__(told)


@dataclass(frozen=True)
class Due:
    """What has come due: the latest time, and how many before it. Counted up to MOST_COUNTED."""

    at: datetime
    missed: int


@dataclass(frozen=True)
class Cron:
    """A line of five fields, and the name of the time zone that it is in."""

    line: str
    zone: str

    @classmethod
    def read(cls, line: str, zone: str) -> Self:
        """Check what was typed. Raises CronInvalid, which says what is wrong with which field."""
        if zone not in zoneinfo.available_timezones():
            raise _unknown(zone)
        cron = cls(" ".join(line[: _LONGEST + 1].split()), zone)
        cron._check()
        return cron

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time that is later, in UTC; None when none comes in 50 years.

        Raises CronInvalid where this machine does not know the time zone.
        """
        # A line that goes by the clock on the wall may give a time once more that has passed,
        # in an hour that comes twice.
        for found in self._times(moment):
            if found > moment:
                return found
        return None

    def due(self, first: datetime, now: datetime) -> Due:
        """Return the latest time up to now of those that begin with `first`."""
        latest, missed = first, 0
        for found in self._times(first):
            if found > now:
                return Due(latest, missed)
            if found > latest:
                latest, missed = found, missed + 1
            if missed >= MOST_COUNTED:
                return Due(max(self.latest(now) or latest, latest), missed)
        return Due(latest, missed)

    def latest(self, now: datetime) -> datetime | None:
        """Return the latest time up to now; None when none came in nine years."""
        # Looking further and further back.
        for back in _BACK:
            latest = None
            for found in self._times(now - back):
                if found > now:
                    break
                latest = found
            if latest is not None:
                return latest
        return None

    def _times(self, moment: datetime) -> "_Times":
        return _Times(CronSim(self.line, moment.astimezone(_zone(self.zone))))

    def _check(self) -> None:
        fields = self.line.split()
        if len(fields) != len(_FIELDS) or len(self.line) > _LONGEST:
            many = "one field" if len(fields) == 1 else f"{len(fields)} fields"
            raise CronInvalid(
                f"{self.line[:40]!r} has {many}, and a cron line has five: minute, "
                "hour, day of the month, month, day of the week",
                'write it like "0 7 * * *", every day at seven, in quotes',
            )
        for place, field in enumerate(fields):
            alone = ["*"] * len(_FIELDS)
            alone[place] = field
            if not _is_read(" ".join(alone)):
                name, range_of, like = _FIELDS[place]
                raise CronInvalid(
                    f"{field[:40]!r} is no {name} of a cron line",
                    f"{range_of}; also lists with commas, ranges with - and steps with /: {like}",
                )
        if not _is_read(self.line) or self.after(datetime.now(UTC)) is None:
            day, month = fields[2], fields[3]
            raise CronInvalid(
                f"{self.line!r} would never be due: there is no day {day} in month {month}",
                "a day that the month has, or L for its last one",
            )


class _Times:
    """The times of a line from a moment on, in UTC. One that is over raises StopIteration."""

    def __init__(self, of: CronSim) -> None:
        self._of = of

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> datetime:
        return next(self._of).astimezone(UTC)


def _is_read(line: str) -> bool:
    try:
        CronSim(line, datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, AssertionError, ValueError):
        return False
    return True


def _unknown(zone: str) -> CronInvalid:
    return CronInvalid(
        f"{zone[:40]!r} is no time zone that this machine knows",
        "a name like Europe/Berlin or UTC",
    )


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise _unknown(name) from None
