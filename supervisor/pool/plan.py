"""How a zygote is started: its program, its environment, its user, its limits.

Made from the settings; used by the spawner, and by the doctor, which starts one to look at it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from supervisor.pool.identity import Identity, identity_of
from supervisor.settings import Settings
from worker.protocol import Felled


@dataclass(frozen=True)
class ZygotePlan:
    """What zygotes are started with. `environment` is asked at each start: secrets change.

    `limits` are rlimits by their names without RLIMIT_; `identity` is the user that workers
    run as, None for our own.
    """

    plugin_dir: Path
    storage_dir: Path
    environment: Callable[[], Mapping[str, str]]
    limits: Mapping[str, int]
    identity: Identity | None
    preload: tuple[str, ...]
    max_output_bytes: int
    boot_timeout_s: float
    cgroup: str = ""

    @classmethod
    def of(
        cls, settings: Settings, environment: Callable[[], Mapping[str, str]], storage_dir: Path
    ) -> "ZygotePlan":
        """Return the plan of these settings. Raises UserUnknown."""
        return cls(
            plugin_dir=settings.plugin_dir,
            storage_dir=storage_dir,
            environment=environment,
            limits=limits_of(settings),
            identity=identity_of(settings.worker_user),
            preload=settings.preload,
            max_output_bytes=settings.max_output_bytes,
            boot_timeout_s=settings.boot_timeout_s,
        )

    def start(
        self, control_fd: int, felled: tuple[Felled, ...] = (), log: BinaryIO | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start one; it writes to our own stdout and stderr, or to this log. Raises OSError."""
        identity = self.identity
        return subprocess.Popen(
            self._command(control_fd, felled),
            env={**self.environment(), **self._who()},
            cwd=self.storage_dir,
            pass_fds=[control_fd],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Not the terminal's: Ctrl-C is for the supervisor, which then ends us all.
            start_new_session=True,
            # The zygote itself, and not only its workers: it imports the plugins' code.
            **(identity.of_process() if identity else {}),
        )

    def _who(self) -> dict[str, str]:
        return self.identity.variables(self.storage_dir) if self.identity else {}

    def _command(self, control_fd: int, felled: tuple[Felled, ...]) -> list[str]:
        facts = {
            "control_fd": control_fd,
            "supervisor_pid": os.getpid(),
            "plugin_dir": str(self.plugin_dir.resolve()),
            "storage_dir": str(self.storage_dir),
            "max_output_bytes": self.max_output_bytes,
            "limits": dict(self.limits),
            "preload": list(self.preload),
            "cgroup": self.cgroup,
            "felled": felled,
        }
        # -P: the current folder is not a place to import from.
        return [sys.executable, "-P", "-m", "worker.zygote", json.dumps(facts)]


def limits_of(settings: Settings) -> dict[str, int]:
    """Return the limits of a worker: no core dumps, which hold secrets, and what was set."""
    chosen = {
        "NOFILE": settings.worker_nofile,
        "FSIZE": settings.worker_fsize_bytes,
        "DATA": settings.worker_data_bytes,
    }
    return {"CORE": 0, **{name: most for name, most in chosen.items() if most is not None}}
