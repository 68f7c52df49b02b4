"""Makes the queue of a deployment from its settings."""

from dataclasses import fields

from supervisor.settings import Settings
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Limits, Queue


def queue_of(settings: Settings) -> Queue:
    """Return the queue that the settings name; for the supervisor, commands and applications."""
    names = (field.name for field in fields(Limits))
    limits = Limits(**{name: getattr(settings, name) for name in names})
    return Queue(settings.redis_address, Keys.of(settings), limits)
