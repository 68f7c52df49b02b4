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
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from supervisor.cli.findings import Finding, good, problem, warning
from supervisor.embedded.children import last_lines
from supervisor.pool.environment import Environment
from supervisor.pool.felled import FelledPlugins, felled_by
from supervisor.pool.memory import fresh_worker_bytes
from supervisor.pool.plan import ZygotePlan
from supervisor.reloading import limits_below
from supervisor.settings import Settings
from worker.errors import FrameInvalid
from worker.plugins import discover
from worker.protocol import Decoder, Felled, Importing, Message, Refused, ZygoteReady
from worker.sizes import text_of

READ_BYTES = 1 << 16
PREFIX = "crewpool-doctor-"
CURE = "mend the import; CREWPOOL_PRELOAD names what is imported before the plugins"


@dataclass
class Try:
    """One start of a zygote: what it said first, or why it said nothing; what a worker of it
    would have; which plugin it was importing when it said its last word.
    """

    word: Message | str = ""
    floor_bytes: int = 0
    importing: Importing | None = None
    how: str = ""
    cut_off: str = ""

    @property
    def felled(self) -> Felled | None:
        """The plugin that it ended with, if it did."""
        if self.importing is None or not isinstance(self.word, str):
            return None
        return felled_by(self.importing, self.how, self.cut_off)


def of_zygote(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Start it as a supervisor would, and tell what it says."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=settings.storage_dir) as folder,
        tempfile.TemporaryFile("w+b") as log,
    ):
        plan = _plan(settings, environ, Path(folder))
        felled = FelledPlugins(plan.plugin_dir)
        seen = _try(plan, felled, log)
        while seen.felled is not None and felled.note(seen.felled):
            seen = _try(plan, felled, log)
        said = last_lines(log)
    word, floor_bytes = seen.word, seen.floor_bytes
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


def _try(plan: ZygotePlan, felled: FelledPlugins, log: BinaryIO) -> Try:
    """Start one, without those plugins that others ended with; kill it when it has said enough."""
    seen = Try()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            try:
                process = plan.start(theirs.fileno(), felled.as_told(), log)
            except (OSError, subprocess.SubprocessError) as error:
                seen.word = str(error)
                return seen
        try:
            seen.word = _read(ours, seen, time.monotonic() + plan.boot_timeout_s)
            seen.floor_bytes = fresh_worker_bytes(process.pid)
        except TimeoutError:
            seen.word = seen.cut_off = f"it was not ready after {plan.boot_timeout_s:g} s"
        except FrameInvalid as error:
            seen.word = seen.cut_off = str(error)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # one that is ending ends as it was about to
            code = process.wait()
            seen.how = f"exit {code}" if code >= 0 else signal.Signals(-code).name
    return seen


def _read(sock: socket.socket, seen: Try, until: float) -> Message | str:
    """Return the first word that tells how it is; note what it imports before."""
    decoder = Decoder()
    while True:
        sock.settimeout(max(0.001, until - time.monotonic()))
        data = sock.recv(READ_BYTES)
        if not data:
            return "it ended without a word"
        for word in decoder.feed(data):
            if not isinstance(word, Importing):
                return word
            seen.importing = word
