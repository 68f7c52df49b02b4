"""Connections to PostgreSQL on which no call waits for ever.

Called by engine.py. A server that is frozen, or whose host has gone, keeps the connection open
and says nothing: neither it nor the kernel ends a call then, so we do. A server that is well and
waits for somebody's lock ends it by itself, so that what we gave up does not pile up there.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg

CONNECT_S = 5
# How long a statement may take; more than the server's bound, so that one that is well says why.
ANSWER_S = 30.0
# A peer that takes no bytes any more: a pulled plug, a firewall.
SILENT_MS = 30_000
# The second is for our own death, or freeze, inside a transaction: it keeps others from its rows.
# Whoever set them in the URL or for the user knows better. PgBouncer takes this statement where
# it refuses options of a connection.
_BOUNDS = """
SELECT set_config(name, length, false)
FROM (VALUES ('statement_timeout', '25s'), ('idle_in_transaction_session_timeout', '60s'))
  AS bounds (name, length)
WHERE current_setting(name) = '0'
"""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when a statement has no answer in time.

    It raises psycopg.OperationalError then. `answer_s` is that time, None for none.
    """

    answer_s: float | None = ANSWER_S

    @classmethod
    def opened(cls, *words: Any, **options: Any) -> Self:
        """Connect, and tell the server how long it may take, unless somebody else did."""
        options = {
            "connect_timeout": CONNECT_S,
            "tcp_user_timeout": SILENT_MS,
            "application_name": "crewpool",
            **options,
        }
        connection = cls.connect(*words, **options)
        try:
            connection.answer_s = ANSWER_S
            connection.autocommit = True
            connection.execute(_BOUNDS)
            connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, gen: Generator[Any, Any, Any], *words: Any, **options: Any) -> Any:
        """Do as psycopg's, for so long."""
        if self.answer_s is not None:
            gen = self._in_time(gen, self.answer_s)
        return super().wait(gen, *words, **options)

    def _in_time(self, gen: Generator[Any, Any, Any], length_s: float) -> Generator[Any, Any, Any]:
        """Pass on what psycopg waits for; it looks in here ten times a second at least."""
        give_up_at = time.monotonic() + length_s
        try:
            wanted = next(gen)
            while True:
                is_ready = yield wanted
                if not is_ready and time.monotonic() > give_up_at:
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {length_s:g} s")
                wanted = gen.send(is_ready)
        except StopIteration as end:
            return end.value


@contextmanager
def unbounded(connection: Any) -> Iterator[None]:
    """Let a connection of SQLAlchemy's take its time, for a block inside a transaction."""
    driver: BoundedConnection = connection.connection.dbapi_connection
    bound_s, driver.answer_s = driver.answer_s, None
    try:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        yield
    finally:
        driver.answer_s = bound_s
