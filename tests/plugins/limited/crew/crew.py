"""Works on what only one may work on at a time: see `limits` in its plugin.yaml.

With `marks` it appends a line when it starts and one when it ends, so that a test can see
how many were at work at a time, on all hosts of the test.
"""

import os
import time


class Limited:
    def __init__(self, settings):
        self.seconds = settings.get("seconds", 0.2)
        self.marks = settings.get("marks")

    def kickoff(self, inputs):
        self.mark("start")
        time.sleep(self.seconds)
        self.mark("end")
        return f"# Worked\n\n{self.seconds} s, pid={os.getpid()}\n"

    def mark(self, what):
        """Append `what pid monotonic` in one write, which no other line can cut."""
        if self.marks:
            file = os.open(self.marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(file, f"{what} {os.getpid()} {time.monotonic():.6f}\n".encode())
            os.close(file)


def create_crew(settings):
    return Limited(settings)
