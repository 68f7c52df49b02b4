"""Fails in the ways it is told, one a start, and completes when it has been through them all.

It remembers its starts in a file, a byte for each, because nothing of a worker lasts.
"""

import os
import signal
import time


class RateLimitError(Exception):
    """As a model's client raises it."""

    status_code = 429

    def __init__(self, retry_after):
        super().__init__("Error code: 429 - the drill was told to say so")
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}


class Flaky:
    def __init__(self, settings):
        self.fails = settings.get("fails", [])
        self.memory = settings["memory"]
        self.retry_after = settings.get("retry_after")

    def kickoff(self, inputs):
        start = self.count()
        if start > len(self.fails):
            return f"# Well at last\n\nstart {start}, pid={os.getpid()}\n"
        getattr(self, self.fails[start - 1])()

    def count(self):
        # Appended, so that two starts at a time would be two as well.
        file = os.open(self.memory, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, b".")
        size = os.fstat(file).st_size
        os.close(file)
        return size

    def exception(self):
        raise RuntimeError("the drill was told to raise")

    def crash(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def exit(self):
        os._exit(3)

    def timeout(self):
        time.sleep(600)

    def rate_limited(self):
        raise RateLimitError(self.retry_after)

    def oom(self):
        raise MemoryError

    def needs_human(self):
        input("Shall I? ")


def create_crew(settings):
    return Flaky(settings)
