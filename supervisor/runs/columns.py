"""The types of columns that mean the same in SQLite and in PostgreSQL.

What a crew or an application wrote must never be what a database refuses: PostgreSQL takes no
NUL in a text, and neither that nor half of a surrogate pair in JSONB.
"""

import json
import operator
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Numeric, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB

REPLACEMENT = "\ufffd"
# From left to right, so that none is found in the middle of another.
_ESCAPE = re.compile(r"\\(u0000|.)")
_UNFIT = re.compile("[\x00\ud800-\udfff]")


def fit_text(text: str) -> str:
    """Return a text that every database takes: NUL and lone surrogates are replaced."""
    return _UNFIT.sub(REPLACEMENT, text)


def fit_json(value: Any) -> str:
    r"""Return the JSON of a value as every database takes it.

    Raises ValueError for numbers that JSON has not, RecursionError for what is too deep.

    >>> fit_json({"a": "x\x00y", "b": "\\u0000"})
    '{"a": "x\ufffdy", "b": "\\\\u0000"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if r"\u0000" in text:
        text = _ESCAPE.sub(lambda found: REPLACEMENT if found[1] == "u0000" else found[0], text)
    return fit_text(text)


class CleanText(TypeDecorator[str]):
    """Text of others, without what PostgreSQL has no place for."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what cannot be kept."""
        del dialect
        return None if value is None else fit_text(value)


class Document(TypeDecorator[Any]):
    """JSON: JSONB in PostgreSQL. None is NULL. Made by fit_json, see engine.py."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the type that this database has for it."""
        kind = JSONB if dialect.name == "postgresql" else JSON
        return dialect.type_descriptor(kind(none_as_null=True))


class UserId(TypeDecorator[int]):
    """An unsigned integer of 64 bits, for which neither database has a type."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return the type that this database has for it."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Numeric(20, 0))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Return what the driver takes. Raises TypeError for what is no integer."""
        if value is None:
            return None
        value = operator.index(value)
        return Decimal(value) if dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        """Return the number."""
        del dialect
        return None if value is None else int(value)


class UtcTime(TypeDecorator[datetime]):
    """A time that knows its zone, which is UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return what the driver takes: SQLite has no zones. Raises ValueError without one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone: say which one it is in")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
