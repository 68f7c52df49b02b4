"""What `crewpool doctor` finds, as data: printed in two ways by doctor.py."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. Only a problem makes the doctor fail."""

    GOOD = "good"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `cure` says what to do; good news need none."""

    level: Level
    topic: str
    said: str
    cure: str = ""


def good(topic: str, said: str) -> Finding:
    """Return good news."""
    return Finding(Level.GOOD, topic, said)


def warning(topic: str, said: str, cure: str) -> Finding:
    """Return what works, and may bite."""
    return Finding(Level.WARNING, topic, said, cure)


def problem(topic: str, said: str, cure: str) -> Finding:
    """Return what must be mended."""
    return Finding(Level.PROBLEM, topic, said, cure)
