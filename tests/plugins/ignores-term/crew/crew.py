"""Hears nothing: only SIGKILL ends it."""

import ctypes
import signal
import time


class IgnoresTerm:
    def __init__(self, settings):
        self.seconds = settings.get("seconds", 60)

    def kickoff(self, inputs):
        # C's signal(), not Python's: that one refuses outside the main thread,
        # and a drill must work wherever kickoff is called.
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        libc.signal.restype = ctypes.c_void_p
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            libc.signal(number, signal.SIG_IGN)
        time.sleep(self.seconds)
        return "# Deaf\n\nNobody insisted.\n"


def create_crew(settings):
    return IgnoresTerm(settings)
