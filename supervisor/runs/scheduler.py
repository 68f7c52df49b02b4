"""Fires schedules when they are due; run in a thread by `crewpool results consume`.

Any number of them may run: whoever is first fires, see schedules.py. What comes due while none
runs is missed, and said: the latest time is made up for, those before it are counted.
"""

import threading
import time
from datetime import datetime
from typing import Protocol

from supervisor.log import Log
from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.runs.errors import RecordsAway, RecordsOutdated
from supervisor.runs.models import Schedule
from supervisor.runs.schedules import Firing, Schedules
from worker.errors import CrewpoolError

POLL_S = 1.0
LATE_S = 60.0
"""Who fires later than this was not there at the time."""
LOOKS_AHEAD = 10
"""A clock that was ahead was set right when so many looks in a row say so. Of one that is behind
for a moment, at the start of a machine, say, all others seem to be ahead."""
# The outbox tries again; other schedules are due, too.
_ONCE = Options(retries=0, unique_for_s=None)


class Observer(Protocol):
    """Who counts what schedules do."""

    def fired(self) -> None:
        """Hear of a time that became a run."""

    def missed(self, times: int) -> None:
        """Hear of times that nobody was there at."""

    def not_fired(self) -> None:
        """Hear of a schedule that is due and cannot be fired."""


class Scheduler:
    """Fires the schedules of one database, and publishes through a dispatcher of the same.

    `came_round_at` is when it last looked, by the monotonic clock, whatever it came to.
    """

    def __init__(
        self,
        schedules: Schedules,
        dispatcher: Dispatcher,
        log: Log | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._schedules = schedules
        self._dispatcher = dispatcher
        self._log = log or Log("crewpool.schedules")
        self._observer = observer
        self._told = ""
        self._looks_ahead = 0
        self.came_round_at = time.monotonic()

    def run_for_ever(self, stop: threading.Event) -> None:
        """Fire until told to stop. Whatever goes wrong is logged, and tried again."""
        while not stop.is_set():
            trouble, wait_s = "", POLL_S
            try:
                wait_s = self.look()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next look may work
                trouble = str(error) if isinstance(error, CrewpoolError) else repr(error)
            if trouble and trouble != self._told:
                self._log.warning("schedules_not_readable", error=trouble)
            self._told = trouble
            self.came_round_at = time.monotonic()
            stop.wait(wait_s)

    def look(self) -> float:
        """Fire what is due; return the seconds until the next look.

        Raises RecordsAway and RecordsOutdated.
        """
        look, began = self._schedules.look(), time.monotonic()
        for schedule in look.due:
            self._fire(schedule, look.at)
        self._looks_ahead = self._looks_ahead + 1 if look.ahead else 0
        if self._looks_ahead >= LOOKS_AHEAD:
            for schedule in look.ahead:
                self._move_back(schedule, look.at)
        if look.next_in_s is None:
            return POLL_S
        # One that is added meanwhile may be due before.
        return min(POLL_S, max(0.0, look.next_in_s - (time.monotonic() - began)))

    def _fire(self, schedule: Schedule, now: datetime) -> None:
        try:
            firing = self._schedules.fire(schedule, now)
        except (RecordsAway, RecordsOutdated):
            raise
        except Exception as error:  # noqa: BLE001  # one broken schedule must not stop all others
            # It stays due: whoever can fire it, or mends it, makes up for the latest time.
            self._tell_unfit(schedule, error)
            return
        if firing is not None:
            self._tell(firing, self._published(firing))

    def _move_back(self, schedule: Schedule, now: datetime) -> None:
        try:
            next_due_at = self._schedules.move_back(schedule, now)
        except (RecordsAway, RecordsOutdated):
            raise
        except Exception as error:  # noqa: BLE001  # as above
            self._tell_unfit(schedule, error)
            return
        if next_due_at is not None:
            self._log.warning(
                "schedule_moved_back",
                schedule=schedule.id,
                plugin=schedule.plugin_name,
                was=schedule.next_due_at.isoformat(),
                next=next_due_at.isoformat(),
            )

    def _published(self, firing: Firing) -> str:
        """Publish a run that is recorded; return what became of it."""
        try:
            return self._dispatcher.dispatch(firing.request, _ONCE).what
        except CrewpoolError as error:
            # Its record says the same, or the relay publishes it.
            return str(error)

    def _tell_unfit(self, schedule: Schedule, error: Exception) -> None:
        told = str(error) if isinstance(error, CrewpoolError) else repr(error)
        if self._observer:
            self._observer.not_fired()
        if self._schedules.note_error(schedule, told):
            self._log.error("schedule_not_fired", schedule=schedule.id, error=told)

    def _tell(self, firing: Firing, became: str) -> None:
        schedule, due, late_s = firing.schedule, firing.due, firing.late_s
        if self._observer:
            self._observer.fired()
            if due.missed:
                self._observer.missed(due.missed)
        if due.missed or late_s > LATE_S:
            self._log.warning(
                "schedule_missed",
                schedule=schedule.id,
                plugin=schedule.plugin_name,
                missed=due.missed,
                since=schedule.next_due_at.isoformat(),
                made_up=due.at.isoformat(),
                late_s=late_s,
            )
        self._log.info(
            "schedule_fired",
            schedule=schedule.id,
            run=firing.request.plugin_run_id,
            plugin=schedule.plugin_name,
            due=due.at.isoformat(),
            late_s=late_s,
            became=became,
        )
