"""What a supervisor is doing at this moment, as data: for heartbeats, USR1 and `workers`."""

import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from supervisor import __version__
from supervisor.pool.handle import Handle, State
from supervisor.standing import Standing

# A look into /proc holds the loop up: whoever asks more often gets the last one.
LOOK_EVERY_S = 1.0


class Snapshots:
    """Takes snapshots; remembers processes, because CPU is a difference of two looks."""

    def __init__(self, host: str) -> None:
        # Why the last reload brought no new code, by plugin ("" for all); see reloading.py.
        self.reload_failed: dict[str, str] = {}
        # Why the import of plugins failed in the zygote, by plugin.
        self.import_failed: dict[str, str] = {}
        # What there is of memory, and what waits for it; see admission.py.
        self.memory: dict[str, Any] = {}
        self._host = host
        self._started_at = time.time()
        self._versions = {
            "crewpool": __version__,
            "crewai": _version_of("crewai"),
            "python": platform.python_version(),
        }
        self._processes: dict[int, psutil.Process] = {}
        self._looks: dict[int, tuple[float, dict[str, Any]]] = {}

    def take(self, standing: Standing, handles: Mapping[int, Handle], now: float) -> dict[str, Any]:
        """Return the snapshot; `now` is the loop's clock. Costs two reads of /proc a worker,
        once a second at most.
        """
        pids = {handle.pid for handle in handles.values()}
        self._processes = {pid: p for pid, p in self._processes.items() if pid in pids}
        self._looks = {pid: look for pid, look in self._looks.items() if pid in pids}
        return {
            "host": self._host,
            "pid": os.getpid(),
            "version": __version__,
            "versions": self._versions,
            "phase": standing.word,
            "because": standing.paused_because,
            "reload_failed": self.reload_failed,
            "import_failed": self.import_failed,
            "started_at": self._started_at,
            "slots": standing.size,
            "busy": sum(handle.state is State.BUSY for handle in handles.values()),
            "memory": self.memory,
            "workers": [self._worker(handles[slot], now) for slot in sorted(handles)],
        }

    def _worker(self, handle: Handle, now: float) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "slot": handle.slot,
            "state": handle.state.value,
            "pid": handle.pid,
            "runs": handle.runs_done,
            **self._use(handle.pid, now),
        }
        if (run := handle.run) is not None:
            progress = run.progress
            facts |= {
                "run": run.run_id,
                "plugin": run.plugin,
                "attempt": run.attempt,
                "seconds": round(now - run.started_at, 1),
                "timeout_s": run.deadline.timeout_s,
                "task": progress.task,
                "tasks": progress.tasks,
                "agent": progress.agent,
                "tool": progress.tool,
                "tokens": progress.tokens.prompt + progress.tokens.completion,
            }
        return facts

    def _use(self, pid: int | None, now: float) -> dict[str, Any]:
        if pid is None:
            return {"cpu_percent": 0.0, "rss_bytes": 0}
        looked_at, facts = self._looks.get(pid, (now - LOOK_EVERY_S, {}))
        if now - looked_at >= LOOK_EVERY_S:
            facts = self._look(pid)
            self._looks[pid] = (now, facts)
        return facts

    def _look(self, pid: int) -> dict[str, Any]:
        try:
            process = self._processes.setdefault(pid, psutil.Process(pid))
            return {"cpu_percent": process.cpu_percent(), "rss_bytes": process.memory_info().rss}
        except psutil.Error:  # gone, not reaped yet
            return {"cpu_percent": 0.0, "rss_bytes": 0}


def _version_of(distribution: str) -> str:
    """Return the version that is installed; it is looked up, never imported (promise P5)."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
