"""The phases of a supervisor and what moves it on: forward only, the most urgent wins."""

from enum import Enum, IntEnum


class Phase(IntEnum):
    """STARTING → RUNNING → DRAINING → STOPPING → STOPPED."""

    STARTING = 0
    RUNNING = 1
    DRAINING = 2
    STOPPING = 3
    STOPPED = 4

    def after(self, request: "Ask") -> "Phase":
        """Return the phase that a request leads to; never one behind the present.

        >>> Phase.RUNNING.after(Ask.DRAIN).name, Phase.DRAINING.after(Ask.DRAIN).name
        ('DRAINING', 'STOPPING')
        """
        if request is Ask.DRAIN:
            # A second TERM means that the first was not meant so patiently.
            wanted = Phase.STOPPING if self is Phase.DRAINING else Phase.DRAINING
        elif request is Ask.LEAVE:
            wanted = Phase.DRAINING
        elif request is Ask.STOP:
            wanted = Phase.STOPPING
        else:
            wanted = self
        return max(self, wanted)

    @property
    def is_leaving(self) -> bool:
        """Whether no new run is taken any more."""
        return self >= Phase.DRAINING


class Ask(Enum):
    """What the loop can be asked for from outside.

    LEAVE is a drain that no second one hurries: messages may be sent again because the reply
    was lost.
    """

    DRAIN = "drain"
    LEAVE = "leave"
    STOP = "stop"
    STACKS = "stacks"
    RELOAD = "reload"
    MORE = "more"
    LESS = "less"
    SNAPSHOT = "snapshot"
