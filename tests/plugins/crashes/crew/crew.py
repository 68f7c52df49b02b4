"""Ends its process as broken C code does: by a signal, in the middle of the run.

`exits` is the one that leaves by itself.
"""

import ctypes
import os
import resource
import signal
import time


class Crashes:
    def __init__(self, settings):
        self.how = settings.get("how", "segfault")
        self.after_s = settings.get("after_s", 0)

    def kickoff(self, inputs):
        # Thousands of these in a test would fill the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        time.sleep(self.after_s)
        getattr(self, self.how)()

    def abort(self):
        os.abort()

    def segfault(self):
        ctypes.string_at(0)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)


def create_crew(settings):
    return Crashes(settings)
