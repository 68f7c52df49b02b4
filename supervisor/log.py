"""The log: one line an event, `time LEVEL event key=value …`, on stderr.

Event names are the words of the metrics. Values are quoted where they hold blanks, and
control characters are escaped: a run id or a crew's output must not forge lines.
"""

import json
import logging
import re
import sys
import time
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+%,\-]+")
MOST_CHARACTERS = 2000


class Log:
    """Writes events of one part of the program."""

    def __init__(self, name: str = "crewpool") -> None:
        self._logger = logging.getLogger(name)

    def info(self, event: str, **facts: Any) -> None:
        """Something happened as it should."""
        self._write(logging.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Something happened that an operator may want to look at."""
        self._write(logging.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Something is broken."""
        self._write(logging.ERROR, event, facts)

    def _write(self, level: int, event: str, facts: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            parts = [f"{key}={_value(value)}" for key, value in facts.items() if value is not None]
            self._logger.log(level, "%s", " ".join([event, *parts]))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname:<7} {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def to_stderr(level: str = "INFO") -> None:
    """Send the log to stderr. Called once by a command, before anything is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # aiohttp's access log would write a line a scrape.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # Nor does anybody want to know which parts Alembic consists of.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # And a malformed request a traceback: a way for anybody to flood the log.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)[:MOST_CHARACTERS]
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=True)
