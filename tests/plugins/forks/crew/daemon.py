"""Starts a daemon as a careless library would: it shares nothing with us but the tree.

Each plugin carries its own copy, as plugins do: they are loaded by path and
cannot import from each other.
"""

import os
import time
from pathlib import Path

LIFE_S = 600


def start(pid_file):
    """Fork twice, in a session of its own, without our files; return when its pid is written."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    try:
        os.setsid()
        daemon = os.fork()
        if daemon:
            # Whole or not at all: the reader polls for the file.
            fresh = Path(f"{pid_file}.new")
            fresh.write_text(f"{daemon}\n")
            fresh.rename(pid_file)
        else:
            os.closerange(0, 1 << 16)
            time.sleep(LIFE_S)
    finally:
        # Neither of the two may ever return into the crew.
        os._exit(0)
