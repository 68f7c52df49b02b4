"""Holds the GIL in one C call, as a careless extension does, and completes in the end.

`spins-in-c` never ends, and burns a processor; this one costs nothing, so that a test can
have it for as long as it likes. A library loaded as PyDLL is called without letting the GIL go.
"""

import ctypes
import os
import time


class Gil:
    def __init__(self, settings):
        self.seconds = settings.get("seconds", 5)
        self.marks = settings.get("marks")

    def kickoff(self, inputs):
        if self.marks:
            file = os.open(self.marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(file, f"start {os.getpid()} {time.monotonic():.6f}\n".encode())
            os.close(file)
        libc = ctypes.PyDLL(None)
        end = time.monotonic() + self.seconds
        # Again when a signal cut it short.
        while (left := end - time.monotonic()) > 0:
            libc.usleep(ctypes.c_uint(int(left * 1_000_000) + 1))
        return f"# Held\n\n{self.seconds} s.\n"


def create_crew(settings):
    return Gil(settings)
