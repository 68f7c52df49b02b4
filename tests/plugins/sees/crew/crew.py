"""Looks around as hostile plugin code would, and returns what it found as JSON.

It names environment variables but not their values, so that its output can be
printed; for its parent it says only what can be learned.
"""

import importlib.util
import os
import random
import resource
import signal
import sys
import tempfile
from pathlib import Path

SECRET = "REDIS_URL"
LIMITS = {
    "core": resource.RLIMIT_CORE,
    "nofile": resource.RLIMIT_NOFILE,
    "fsize": resource.RLIMIT_FSIZE,
    "data": resource.RLIMIT_DATA,
}


class Seen:
    def __init__(self, facts):
        self.raw = ""
        self.json_dict = facts
        self.pydantic = None


class Sees:
    def kickoff(self, inputs):
        return Seen(
            {
                "pid": os.getpid(),
                "ppid": os.getppid(),
                "sid": os.getsid(0),
                "pgid": os.getpgid(0),
                "cwd": os.getcwd(),
                "environment": sorted(os.environ),
                "storage_dir": os.environ.get("CREWAI_STORAGE_DIR"),
                "tmpdir": tempfile.gettempdir(),
                "umask": umask(),
                "no_new_privs": "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(),
                "limits": {name: resource.getrlimit(number) for name, number in LIMITS.items()},
                "uids": os.getresuid(),
                "gids": [*os.getresgid(), *os.getgroups()],
                "home": os.environ.get("HOME"),
                "redis_url_in_environ": SECRET in os.environ,
                "redis_url_in_own_proc": environ_of("self"),
                "redis_url_in_parent_proc": environ_of(os.getppid()),
                "redis_importable": importlib.util.find_spec("redis") is not None,
                "redis_imported": "redis" in sys.modules,
                "crewai_imported": "crewai" in sys.modules,
                "stdin": os.readlink("/proc/self/fd/0"),
                "fds": open_fds(),
                "signals": dispositions(),
                "threads": len(os.listdir("/proc/self/task")),
                "random": random.random(),
            }
        )


def umask():
    found = os.umask(0)
    os.umask(found)
    return found


def environ_of(pid):
    """Is the secret in what the kernel shows of that process: yes, no or hidden."""
    try:
        names = [
            entry.partition(b"=")[0]
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ]
    except OSError:
        return "hidden"
    return "yes" if SECRET.encode() in names else "no"


def open_fds():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # the listing's own descriptor, closed by now
    return found


def dispositions():
    """Each signal's disposition as the kernel has it; Python knows only its own."""
    status = dict(
        line.split(":\t", 1)
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    ignored, caught = int(status["SigIgn"], 16), int(status["SigCgt"], 16)
    names = {}
    for number in signal.valid_signals():
        bit = 1 << (number - 1)
        name = (
            signal.Signals(number).name
            if number in signal.Signals._value2member_map_
            else str(number)
        )
        names[name] = "ignored" if ignored & bit else "caught" if caught & bit else "default"
    return names


def create_crew(settings):
    return Sees()
