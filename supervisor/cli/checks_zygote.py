"""The doctor's look at the fork gate and at a worker's size: starts the zygote, and kills it.

Called by doctor.py. The zygote must be killed before its socket is closed: at the end of
its socket it sweeps up everything that carries its marker, which therefore is one of its own.
"""

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from supervisor.cli.findings import Finding, good, problem, warning
from supervisor.embedded.children import last_lines
from supervisor.pool.environment import Environment
from supervisor.pool.memory import fresh_worker_bytes
from supervisor.pool.plan import ZygotePlan
from supervisor.reloading import limits_below
from supervisor.settings import Settings
from worker.errors import FrameInvalid
from worker.plugins import discover
from worker.protocol import Decoder, Message, Refused, ZygoteReady
from worker.sizes import text_of

READ_BYTES = 1 << 16
PREFIX = "crewpool-doctor-"
CURE = "mend the import; CREWPOOL_PRELOAD names what is imported before the plugins"


def of_zygote(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Start it as a supervisor would, and tell what it says."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=settings.storage_dir) as folder,
        tempfile.TemporaryFile("w+b") as log,
    ):
        plan = _plan(settings, environ, Path(folder))
        word, floor_bytes = _first_word(plan, log)
        said = last_lines(log)
    if isinstance(word, ZygoteReady):
        told = f"{word.modules} modules imported in {word.import_s:.1f} s, and one thread"
        return [good("fork gate", told), *_lazy(word), *_limits(settings, floor_bytes)]
    reason = word.reason if isinstance(word, Refused) else word
    return [problem("fork gate", f"The zygote cannot start: {reason}", _cure(said))]


def _lazy(word: ZygoteReady) -> list[Finding]:
    failed = [
        problem("plugins", f"{name}: {reason}", f"mend the plugin {name}")
        for name, reason in word.failed.items()
    ]
    lazy = [
        warning(
            "plugins",
            f"{name} is imported anew in each worker: {reason}",
            f"let {name} start no thread when it is imported, to start in milliseconds",
        )
        for name, reason in word.lazy.items()
    ]
    return failed + lazy


def _limits(settings: Settings, floor_bytes: int) -> list[Finding]:
    """Look for limits of memory that no run could keep, however small it is."""
    told = f"a worker has {text_of(floor_bytes)} before its first run, most of it shared"
    broken = discover(settings.plugin_dir, floor_bytes).broken
    known = discover(settings.plugin_dir).broken
    return [
        good("memory", told),
        *(problem("memory", *said.split("; ", 1)) for said in limits_below(settings, floor_bytes)),
        *(
            problem("plugins", f"{name}: {reason}", f"mend {settings.plugin_dir / name}")
            for name, reason in broken.items()
            if name not in known
        ),
    ]


def _cure(said: str) -> str:
    return f"{CURE}. Its last words:\n{said}" if said else CURE


def _plan(settings: Settings, environ: Mapping[str, str], folder: Path) -> ZygotePlan:
    url, mark = settings.redis_url.get_secret_value(), secrets.token_hex(16)
    environment = Environment(environ, settings.worker_env, url, mark, _say_nothing)
    plan = ZygotePlan.of(settings, environment.of_zygote, folder)
    if plan.identity is not None:
        os.chown(folder, plan.identity.uid, plan.identity.gid)
    return plan


def _say_nothing(_error: object) -> None:
    """Others of the doctor's looks tell which secrets cannot be read."""


def _first_word(plan: ZygotePlan, log: BinaryIO) -> tuple[Message | str, int]:
    """Return what it says first, or why it said nothing, and what a worker of it would have."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                process = plan.start(theirs.fileno(), log=log)
            except (OSError, subprocess.SubprocessError) as error:
                return str(error), 0
        try:
            word = _read(ours, time.monotonic() + plan.boot_timeout_s)
            return word, fresh_worker_bytes(process.pid)
        except TimeoutError:
            return f"it was not ready after {plan.boot_timeout_s:g} s", 0
        except FrameInvalid as error:
            return str(error), 0
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(sock: socket.socket, until: float) -> Message | str:
    decoder = Decoder()
    while True:
        sock.settimeout(max(0.001, until - time.monotonic()))
        data = sock.recv(READ_BYTES)
        if not data:
            return "it ended without a word"
        if words := decoder.feed(data):
            return words[0]
