"""One C call that never ends, holds the GIL and never looks for signals.

`deque(repeat(None), maxlen=0)` feeds an endless iterator into nothing, in C, in
constant memory. A bad regular expression would not do: `re` runs Python signal
handlers while it matches.
"""

from collections import deque
from itertools import repeat

from .daemon import start


class SpinsInC:
    def __init__(self, settings):
        self.pid_file = settings.get("pid_file") if settings.get("daemon") else None

    def kickoff(self, inputs):
        if self.pid_file:
            start(self.pid_file)
        deque(repeat(None), maxlen=0)


def create_crew(settings):
    return SpinsInC(settings)
