"""Who does what only one of several processes shall do at a time, in the same database.

A lease lapses by the clocks of those who ask for it. Where clocks differ, two may hold it for so
long: it keeps them out of each other's way, and must not be what makes their work right.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, or_, update
from sqlalchemy.exc import IntegrityError

from supervisor.runs.database import Database
from supervisor.runs.models import Lease

# Clocks may differ by so much. Who holds a lease for longer took it by one that was ahead.
AHEAD = timedelta(seconds=60)


class Leases:
    """Leases by name. Raises as its database does."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def take(self, name: str, owner: str, for_s: float) -> bool:
        """Take or renew a lease; False while somebody else has it."""
        now = self._clock()
        until = now + timedelta(seconds=for_s)
        free = or_(Lease.owner == owner, Lease.until <= now, Lease.until > until + AHEAD)
        if self._database.change(
            update(Lease).where(Lease.name == name, free).values(owner=owner, until=until)
        ):
            return True
        try:
            with self._database.writing() as session:
                if session.get(Lease, name) is not None:
                    return False
                session.execute(insert(Lease).values(name=name, owner=owner, until=until))
        except IntegrityError:
            return False
        return True

    def release(self, name: str, owner: str) -> None:
        """Give a lease back, if it is still ours."""
        self._database.change(delete(Lease).where(Lease.name == name, Lease.owner == owner))
