"""Where supervisors are started, and where none of their processes stays behind.

The fixture `start_supervisor` is one for each test; modules that share a supervisor between
their tests make one of their own.
"""

import os

import psutil

from tests.support.linux import collect, is_alive, kill, living_below, title_of
from tests.support.servers import KINDS
from tests.support.supervisors import SupervisorProcess
from tests.support.waiting import wait_until


class Yard:
    """Starts supervisors below one folder; `clear()` ends what is left of them, also when
    the fixture that started them fails: what runs on would take the runs of other tests.
    """

    def __init__(self, folder):
        self._folder = folder
        self._started = []
        self._before = {process.pid for process in living_below(os.getpid())}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clear()

    def start(self, url, *, wait=True, **options):
        """Start one; with `wait` return when it is ready."""
        folder = self._folder / f"supervisor-{len(self._started)}"
        supervisor = SupervisorProcess(url, folder, **options)
        self._started.append(supervisor)
        supervisor.start()
        return supervisor.wait_ready() if wait else supervisor

    def clear(self):
        """Kill what still runs; fail when something had got away from its supervisor."""
        for supervisor in self._started:
            supervisor.end()
        try:
            wait_until(lambda: not self.left_behind(), 2, "no process of a supervisor is left")
        except AssertionError as error:
            left = [f"{p.pid} {p.status()} {title_of(p)}" for p in self.left_behind()]
            raise AssertionError(f"{error}: {left}") from None
        finally:
            for process in self.left_behind():
                kill(process.pid)
            for process in psutil.Process().children():
                if not is_alive(process.pid):
                    collect(process.pid)

    def left_behind(self):
        """What runs below pytest and did not before: orphans come to us, see adopt_orphans().

        Servers are of other fixtures, which may have started them meanwhile.
        """
        servers = tuple(str(kind.program()) for kind in KINDS.values())
        return [
            process
            for process in living_below(os.getpid())
            if process.pid not in self._before and not title_of(process).startswith(servers)
        ]
