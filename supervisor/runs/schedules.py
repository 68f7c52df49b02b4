"""Schedules: kept in the database of the records, and fired by whoever is first.

A firing records its run and moves the schedule on in one transaction, which finds the schedule
as it was when its time was worked out, or does nothing: one run a time, however many look. The
id of the run follows from schedule and time. Publishing is the outbox's business.

What time it is says the clock of the database, so that those who look agree. A schedule that it
moved on while it was ahead is moved back.
"""

import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Update, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from supervisor.runs.cron import Cron, CronInvalid, Due
from supervisor.runs.database import changed
from supervisor.runs.errors import OutboxKeyUnfit
from supervisor.runs.models import NEVER, PluginRun, Schedule
from supervisor.runs.outbox import NewRun
from supervisor.runs.requests import PluginRequest
from supervisor.runs.store import LONGEST_ERROR, RunStore

if TYPE_CHECKING:
    from supervisor.runs.sealing import Sealer

LARGEST_PAYLOAD_BYTES = 1_048_576
# A clock that is set back by less: each time stays fired, and the next one is not far.
AHEAD = timedelta(seconds=60)
_NAMESPACE = uuid.UUID("6a1c1b1e-3f0e-5d5b-9b43-0c5e1d1f7a11")


@dataclass(frozen=True)
class NewSchedule:
    """What is asked for: a cron line in a time zone, and what to run then.

    `settings` may hold credentials under keys that begin with `_`.
    """

    cron: Cron
    plugin_name: str
    user_id: int
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    priority: str = "normal"

    def request(self, run_id: str) -> PluginRequest:
        """Return the request for a run of it."""
        return PluginRequest(
            self.plugin_name, self.user_id, self.settings, run_id, priority=self.priority
        )


@dataclass(frozen=True)
class Look:
    """What is due at a time, what was moved on by a clock that was ahead, and the next one.

    `next_in_s` is how long it is until that; None without any.
    """

    at: datetime
    due: Sequence[Schedule]
    ahead: Sequence[Schedule]
    next_in_s: float | None


@dataclass(frozen=True)
class Firing:
    """A time that was fired, the run that it became, and how many times before were missed."""

    schedule: Schedule
    due: Due
    request: PluginRequest
    late_s: float


class Schedules:
    """The schedules of one database. All methods raise RecordsAway and RecordsOutdated.

    `clock` takes the place of the database's.
    """

    def __init__(
        self,
        store: RunStore,
        sealer: "Sealer | None" = None,
        max_payload_bytes: int = LARGEST_PAYLOAD_BYTES,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._max_payload_bytes = max_payload_bytes
        self._clock = clock

    def add(self, new: NewSchedule) -> tuple[Schedule, bool]:
        """Keep a schedule; return it, and whether it is new. Safe to repeat.

        One that differs in nothing but credentials takes the place of the one before, and
        keeps its times. Raises RequestInvalid, OutboxKeyMissing, CronInvalid.
        """
        with self._store.database.reading() as session:
            now = self._now(session)
        schedule_id = secrets.token_hex(6)
        next_due_at = new.cron.after(now)
        if next_due_at is None:
            raise CronInvalid(f"{new.cron.line!r} will never be due", "another cron line")
        run = self._new_run(new.request(run_id_of(schedule_id, next_due_at)))
        payload = json.dumps(dict(new.settings))
        if not run.payload.startswith("{") and self._sealer is not None:
            payload = self._sealer.sealed(payload)
        schedule = Schedule(
            id=schedule_id,
            cron=new.cron.line,
            timezone=new.cron.zone,
            plugin_name=new.plugin_name,
            user_id=new.user_id,
            priority=new.priority,
            input=run.settings,
            payload=payload,
            digest=_digest_of(new, run.digest),
            created_at=now,
            next_due_at=next_due_at,
        )
        try:
            return self._kept(schedule)
        except IntegrityError:
            # Somebody else added the same at the same time, and is there to be found now.
            return self._kept(schedule)

    def _kept(self, schedule: Schedule) -> tuple[Schedule, bool]:
        with self._store.database.writing() as session:
            known = session.scalar(select(Schedule).where(Schedule.digest == schedule.digest))
            if known is not None:
                known.payload, known.input = schedule.payload, schedule.input
                return known, False
            session.add(schedule)
            session.flush()
            return schedule, True

    def list(self) -> Sequence[Schedule]:
        """Return all, the one that is due next first."""
        with self._store.database.reading() as session:
            return session.scalars(select(Schedule).order_by(Schedule.next_due_at)).all()

    def remove(self, schedule_id: str) -> bool:
        """Take one away: it fires no more. False when there is none."""
        return self._store.database.change(delete(Schedule).where(Schedule.id == schedule_id))

    def pause(self, schedule_id: str) -> tuple[Schedule, bool] | None:
        """Fire one no more until it is resumed; times that come meanwhile are not missed.

        Returns it, and whether that is news; None when there is none.
        """
        return self._move(schedule_id, lambda _schedule, _now: NEVER, is_paused=False)

    def resume(self, schedule_id: str) -> tuple[Schedule, bool] | None:
        """Fire one again, from now on. Returns as `pause`. Raises CronInvalid."""
        return self._move(schedule_id, _next_of, is_paused=True)

    def _move(
        self, schedule_id: str, to: Callable[[Schedule, datetime], datetime], *, is_paused: bool
    ) -> tuple[Schedule, bool] | None:
        with self._store.database.writing() as session:
            found = session.get(Schedule, schedule_id, with_for_update=True)
            if found is None:
                return None
            if found.is_paused != is_paused:
                return found, False
            found.next_due_at, found.last_error = to(found, self._now(session)), ""
            return found, True

    def look(self) -> Look:
        """Return what is to be done now."""
        with self._store.database.reading() as session:
            now = self._now(session)
            is_due = Schedule.next_due_at <= now
            is_ahead = or_(Schedule.last_due_at > now + AHEAD, Schedule.created_at > now + AHEAD)
            in_order = select(Schedule).order_by(Schedule.next_due_at)
            due = session.scalars(in_order.where(is_due)).all()
            is_on = Schedule.next_due_at < NEVER
            ahead = session.scalars(in_order.where(~is_due, is_ahead, is_on)).all()
            later = session.scalar(select(func.min(Schedule.next_due_at)).where(~is_due))
        return Look(now, due, ahead, (later - now).total_seconds() if later else None)

    def fire(self, schedule: Schedule, now: datetime) -> Firing | None:
        """Record the run of the latest time that has come; None when somebody else did.

        Times before it were missed, and are only counted. Raises CronInvalid, OutboxKeyUnfit,
        OutboxKeyMissing, RequestInvalid, RunIdTaken: then nothing has changed.
        """
        cron = Cron(schedule.cron, schedule.timezone)
        due = cron.due(schedule.next_due_at, now)
        next_due_at = _next_of(schedule, due.at)
        request = self._request_of(schedule, due.at)
        new = self._new_run(request)
        moving = _as_found(schedule).values(
            next_due_at=next_due_at,
            last_due_at=due.at,
            last_run_id=request.plugin_run_id,
            fired=Schedule.fired + 1,
            last_error="",
        )
        if due.missed:
            moving = moving.values(missed=Schedule.missed + due.missed, last_missed_at=now)
        with self._store.database.writing() as session:
            if not changed(session, moving):
                return None
            self._store.added(session, new)
        return Firing(schedule, due, request, (now - due.at).total_seconds())

    def move_back(self, schedule: Schedule, now: datetime) -> datetime | None:
        """Return when a schedule is due that is ahead, and note it; None when somebody else did.

        That is the latest time that has come, unless it was fired, else the next one. Raises
        CronInvalid.
        """
        cron = Cron(schedule.cron, schedule.timezone)
        latest, next_due_at = cron.latest(now), _next_of(schedule, now)
        until = max(schedule.last_due_at or schedule.created_at, schedule.created_at)
        with self._store.database.writing() as session:
            if latest and latest > schedule.created_at:
                run_id = run_id_of(schedule.id, latest)
                fired = select(PluginRun.id).where(PluginRun.plugin_run_id == run_id)
                next_due_at = next_due_at if session.scalar(fired) else latest
            moving = _as_found(schedule).values(
                next_due_at=next_due_at,
                last_due_at=None,
                created_at=min(schedule.created_at, now),
                last_error=f"moved back: a clock was ahead, at {until:%Y-%m-%d %H:%M} UTC",
            )
            return next_due_at if changed(session, moving) else None

    def note_error(self, schedule: Schedule, error: str) -> bool:
        """Note why a schedule cannot fire; return whether that is news."""
        told = error[:LONGEST_ERROR]
        return self._store.database.change(
            update(Schedule)
            .where(Schedule.id == schedule.id, Schedule.last_error != told)
            .values(last_error=told)
        )

    def _now(self, session: Session) -> datetime:
        return self._clock() if self._clock else self._store.database.now(session)

    def _request_of(self, schedule: Schedule, due_at: datetime) -> PluginRequest:
        payload = schedule.payload
        if not payload.startswith("{"):
            if self._sealer is None:
                told = "it is not set, and the schedule is sealed"
                raise OutboxKeyUnfit("CREWPOOL_OUTBOX_KEY_FILE", told)
            payload = self._sealer.opened(payload)
        return PluginRequest(
            schedule.plugin_name,
            schedule.user_id,
            json.loads(payload),
            run_id_of(schedule.id, due_at),
            priority=schedule.priority,
        )

    def _new_run(self, request: PluginRequest) -> NewRun:
        return NewRun.of(request, self._sealer, self._max_payload_bytes)


def _next_of(schedule: Schedule, moment: datetime) -> datetime:
    """Return when it is due after a moment. Raises CronInvalid."""
    found = Cron(schedule.cron, schedule.timezone).after(moment)
    if found is None:
        raise CronInvalid(f"{schedule.cron!r} will never be due again", "remove the schedule")
    return found


def _as_found(schedule: Schedule) -> Update:
    """Return a change of a schedule that does nothing if somebody else has moved it."""
    return update(Schedule).where(
        Schedule.id == schedule.id, Schedule.next_due_at == schedule.next_due_at
    )


def run_id_of(schedule_id: str, due_at: datetime) -> str:
    """Return the id of the run that a time becomes, the same for all who work it out.

    >>> run_id_of("a", datetime(2026, 1, 1, 7, tzinfo=UTC))
    '114fc420-5493-5aa7-b364-200f4d34ae8b'
    """
    moment = due_at.astimezone(UTC).isoformat(timespec="seconds")
    return str(uuid.uuid5(_NAMESPACE, f"{schedule_id} {moment}"))


def _digest_of(new: NewSchedule, of_run: str) -> str:
    parts = [new.cron.line.upper(), new.cron.zone, new.priority, of_run]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
