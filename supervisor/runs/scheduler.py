"""Fires schedules when they are due; run in a thread by `crewpool results consume`.

Any number of them may run: whoever is first fires, see schedules.py. What comes due while none
runs is missed, and said: the latest time is made up for, those before it are counted.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from supervisor.log import Log
from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.runs.errors import RecordsAway, RecordsOutdated
from supervisor.runs.models import Schedule
from supervisor.runs.schedules import Firing, Schedules
from worker.errors import CrewpoolError

POLL_S = 1.0
LATE_S = 60.0
"""Who fires later than this was not there at the time."""
# The outbox tries again; other schedules are due, too.
_ONCE = Options(retries=0, unique_for_s=None)


def _now() -> datetime:
    return datetime.now(UTC)


class Scheduler:
    """Fires the schedules of one database, and publishes through a dispatcher of the same."""

    def __init__(
        self,
        schedules: Schedules,
        dispatcher: Dispatcher,
        clock: Callable[[], datetime] = _now,
        log: Log | None = None,
    ) -> None:
        self._schedules = schedules
        self._dispatcher = dispatcher
        self._clock = clock
        self._log = log or Log("crewpool.schedules")
        self._told = ""

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
            stop.wait(wait_s)

    def look(self) -> float:
        """Fire what is due; return the seconds until the next look.

        Raises RecordsAway and RecordsOutdated.
        """
        found, later = self._schedules.due()
        for schedule in found:
            self._fire(schedule)
        if later is None:
            return POLL_S
        # One that is added meanwhile may be due before.
        return min(POLL_S, max(0.0, (later - self._clock()).total_seconds()))

    def _fire(self, schedule: Schedule) -> None:
        try:
            firing = self._schedules.fire(schedule)
        except (RecordsAway, RecordsOutdated):
            raise
        except Exception as error:  # noqa: BLE001  # one broken schedule must not stop all others
            # It stays due: whoever can fire it, or mends it, makes up for the latest time.
            told = str(error) if isinstance(error, CrewpoolError) else repr(error)
            if self._schedules.note_error(schedule, told):
                self._log.error("schedule_not_fired", schedule=schedule.id, error=told)
            return
        if firing is not None:
            self._tell(firing, self._published(firing))

    def _published(self, firing: Firing) -> str:
        """Publish a run that is recorded; return what became of it."""
        try:
            return self._dispatcher.dispatch(firing.request, _ONCE).what
        except CrewpoolError as error:
            # Its record says the same, or the relay publishes it.
            return str(error)

    def _tell(self, firing: Firing, became: str) -> None:
        schedule, due = firing.schedule, firing.due
        late_s = (self._clock() - due.at).total_seconds()
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
