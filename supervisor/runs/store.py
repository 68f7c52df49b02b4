"""The records of runs: what is written when, and what never changes back.

Called by dispatcher, relay, result consumer, gateway and commands, from any thread; asyncio
code uses asyncio.to_thread. Every method is safe to repeat after RecordsAway, which says that
nobody knows whether it took effect. A status goes forward only, whoever comes late.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from supervisor.runs import statements
from supervisor.runs.answers import (
    ADDED,
    APPLIED,
    DUPLICATE,
    KNOWN,
    UNIQUE,
    UNKNOWN,
    Added,
    Arrival,
    Page,
    RunFilter,
)
from supervisor.runs.database import Database, changed
from supervisor.runs.endings import ENDING, told_of
from supervisor.runs.errors import CursorInvalid, RunIdTaken
from supervisor.runs.leases import AHEAD, Leases
from supervisor.runs.models import FAILED, OPEN, PROCESSING, PluginRun
from supervisor.runs.outbox import NewRun
from supervisor.streams.endings import CANCELLED
from supervisor.streams.wire import Result

MOST_LISTED = 1000
LONGEST_ERROR = 2000
_CURSOR = re.compile(r"[1-9][0-9]{0,17}")
BEHIND = "others wait before it"


def _now() -> datetime:
    return datetime.now(UTC)


class RunStore:
    """The records in one database. A context manager.

    Raises RecordsMisconfigured when it is made; its methods raise RecordsAway and
    RecordsOutdated. Nothing is connected before the first of them is called.
    """

    def __init__(self, url: str, clock: Callable[[], datetime] = _now) -> None:
        self.database = Database(url)
        self.leases = Leases(self.database, clock)
        self._clock = clock

    @property
    def where(self) -> str:
        """The address of the database as it may be shown."""
        return self.database.where

    # ---- a run is asked for

    def add(self, new: NewRun) -> Added:
        """Record a run that is asked for. Raises RunIdTaken.

        Behind others that could not be published it waits from the beginning, so that it does
        not go before them.
        """
        for tries_left in (2, 1, 0):
            try:
                with self.database.writing() as session:
                    return self.added(session, new)
            except IntegrityError:
                # Somebody else added the same at the same time, and is there to be found now.
                if not tries_left:
                    raise
        raise AssertionError

    def added(self, session: Session, new: NewRun) -> Added:
        """Record a run in a transaction of the caller's, and as `add` in all else."""
        if found := self._already(session, new):
            return found
        run = PluginRun(**new.values(self._clock()))
        if session.scalar(statements.BACKLOG) is not None:
            run.publish_failures, run.last_publish_error = 1, BEHIND
        session.add(run)
        session.flush()
        return Added(ADDED, run)

    def _already(self, session: Session, new: NewRun) -> Added | None:
        known = session.scalar(statements.of(new.run_id))
        if known is not None:
            if known.digest != new.digest:
                raise RunIdTaken(new.run_id)
            return Added(KNOWN, known)
        if new.unique_for_s is None:
            return None
        holder = session.scalar(select(PluginRun).where(PluginRun.unique_key == new.digest))
        if holder is None:
            return None
        if holder.unique_until is not None and holder.unique_until > self._clock():
            return Added(UNIQUE, holder)
        holder.unique_key = None
        session.flush()
        return None

    # ---- the outbox

    def unpublished(self, limit: int, grace_s: float = 0.0, after: int = 0) -> Sequence[PluginRun]:
        """Return runs that wait in the outbox, in order, those behind `after`.

        Those younger than `grace_s` that nothing kept from being published are left to the
        dispatcher that recorded them, which is at it. Among them are those that were cancelled
        here, of which Redis has to hear.
        """
        now = self._clock()
        query = select(PluginRun).where(
            PluginRun.payload.is_not(None),
            PluginRun.id > after,
            or_(
                PluginRun.publish_failures > 0,
                PluginRun.created_at <= now - timedelta(seconds=grace_s),
                # By a clock that was ahead: its dispatcher is not at it until then.
                PluginRun.created_at > now + AHEAD,
                PluginRun.status == FAILED,
            ),
        )
        with self.database.reading() as session:
            return session.scalars(query.order_by(PluginRun.id).limit(limit)).all()

    def mark_published(self, run_ids: Sequence[str], at: datetime | None = None) -> Sequence[str]:
        """Note that runs stand in Redis, and empty their places in the outbox.

        Returns those that ended here meanwhile: Redis has to hear of that at once. Where this
        is lost with the power, Redis is asked again, as after a death before it.
        """
        marking = statements.waiting(*run_ids).values(
            payload=None, published_at=at or self._clock(), last_publish_error=""
        )
        with self.database.writing(is_fleeting=True) as session:
            if changed(session, marking) == len(run_ids):
                return []
            return session.scalars(statements.given_up(*run_ids)).all()

    def cancel(self, run_id: str) -> PluginRun | None:
        """End a run that waits in the outbox; return what there is now, whatever it was.

        It keeps an empty place there until Redis has heard of it: somebody may be publishing
        it right now, or have died doing so.
        """
        ending = statements.waiting(run_id).values(
            **self._given_up(CANCELLED), payload="", publish_failures=0, last_publish_error=""
        )
        with self.database.writing() as session:
            changed(session, ending)
            return session.scalar(statements.of(run_id))

    def mark_cancelled(self, run_id: str) -> bool:
        """Note that Redis has heard of a cancel, and empty its place in the outbox."""
        with self.database.writing(is_fleeting=True) as session:
            return changed(session, statements.cancelled(run_id).values(payload=None)) > 0

    def note_failure(self, run_id: str, error: str) -> bool:
        """Note that a run could not be published now. It stays in the outbox."""
        failures = PluginRun.publish_failures + 1
        told = error[:LONGEST_ERROR]
        return self.database.change(
            statements.waiting(run_id).values(publish_failures=failures, last_publish_error=told)
        )

    def note_skipped(self, run_id: str, error: str) -> bool:
        """Note why others are published before a run: it is for somebody else, or for later."""
        return self.database.change(
            statements.waiting(run_id).values(last_publish_error=error[:LONGEST_ERROR])
        )

    def fail(self, run_id: str, error: str) -> bool:
        """Give a run up that cannot be published. False when it has ended, or is not known."""
        return self.database.change(
            update(PluginRun)
            .where(PluginRun.plugin_run_id == run_id, PluginRun.status.in_(OPEN))
            .values(**self._given_up(error), payload=None)
        )

    def _given_up(self, error: str) -> dict[str, Any]:
        return {
            "status": FAILED,
            "error_message": error[:LONGEST_ERROR],
            "completed_at": self._clock(),
            "unique_key": None,
        }

    # ---- how it goes on

    def mark_processing(self, run_id: str, started_at: datetime, attempt: int = 1) -> bool:
        """Note that a run was started. False when it has ended, or is not known.

        `started_at` of the first start counts, and the highest number of an attempt.
        """
        return self.database.change(
            update(PluginRun)
            .where(PluginRun.plugin_run_id == run_id, PluginRun.status.in_(OPEN))
            .values(
                status=PROCESSING,
                started_at=func.coalesce(PluginRun.started_at, started_at),
                attempts=case((PluginRun.attempts < attempt, attempt), else_=PluginRun.attempts),
                # Somebody works on it: it left the outbox.
                payload=None,
                published_at=func.coalesce(PluginRun.published_at, self._clock()),
                last_publish_error="",
            )
        )

    def apply_result(self, result: Result, at: datetime | None = None) -> str:
        """Take in a result; return what it was: applied, duplicate or unknown."""
        return self.apply_results([Arrival(result, at)])[0]

    def apply_results(self, arrivals: Sequence[Arrival]) -> list[str]:
        """Take in several results in one transaction: all or none, where the database fails."""
        told = [UNKNOWN] * len(arrivals)
        # In one order everywhere, so that two consumers never wait for each other.
        order = sorted(range(len(arrivals)), key=lambda n: arrivals[n].result.run_id)
        with self.database.writing() as session:
            for number in order:
                told[number] = self._apply(session, arrivals[number])
        return told

    def _apply(self, session: Session, arrival: Arrival) -> str:
        run_id, at = arrival.result.run_id, arrival.at or self._clock()
        if changed(session, ENDING, told_of(arrival.result, at, self._clock())):
            return APPLIED
        known = session.scalar(select(PluginRun.id).where(PluginRun.plugin_run_id == run_id))
        return UNKNOWN if known is None else DUPLICATE

    # ---- looking

    def get(self, run_id: str) -> PluginRun | None:
        """Return the record of a run, None when there is none."""
        with self.database.reading() as session:
            return session.scalar(statements.of(run_id))

    def list(
        self, which: RunFilter | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Return a page of runs, the newest first. Raises CursorInvalid."""
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise CursorInvalid(cursor)
        limit = min(max(1, limit), MOST_LISTED)
        query = statements.narrowed(select(PluginRun), which or RunFilter())
        if cursor is not None:
            query = query.where(PluginRun.id < int(cursor))
        with self.database.reading() as session:
            runs = session.scalars(query.order_by(PluginRun.id.desc()).limit(limit + 1)).all()
        more = len(runs) > limit
        return Page(runs[:limit], str(runs[limit - 1].id) if more else None)

    def counts(self) -> dict[str, int]:
        """Return how many runs have each status, and under `outbox` how many wait there."""
        with self.database.reading() as session:
            by_status = select(PluginRun.status, func.count()).group_by(PluginRun.status)
            waiting = select(func.count()).where(PluginRun.payload.is_not(None))
            found = {status: count for status, count in session.execute(by_status)}  # noqa: C416  # mypy
            return {**found, "outbox": session.scalar(waiting) or 0}

    # ---- the database

    def upgrade(self) -> tuple[str, str]:
        """Bring the tables to our version; return what it was and what it is."""
        return self.database.upgrade()

    def close(self) -> None:
        """Close the connections. A later call opens them again."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
