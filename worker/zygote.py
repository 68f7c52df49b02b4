"""The template process that workers are forked from.

Started by the supervisor: `python -P -m worker.zygote '{"control_fd": 3, …}'`. It imports
crewai and the plugins once, freezes the heap and then forks a worker per order, twice over,
so that the worker is the supervisor's own child (trap O2). It never runs a crew, and has
one thread: a fork copies only the thread that calls it, and locks held by others stay
locked for ever.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

# Before anything else is imported: crewai reads these while it is being imported.
from worker.crew.lockdown import lock_down

lock_down(os.environ)

import setproctitle  # noqa: E402  # after the lockdown, like all that follow

from worker import gate, huge_pages, janitor, leftovers, warmup  # noqa: E402
from worker.boot import Berth, reset_signals, settle  # noqa: E402
from worker.crew.executor import Executor  # noqa: E402
from worker.crew.folders import Folders  # noqa: E402
from worker.imports import Imports  # noqa: E402
from worker.main import serve  # noqa: E402
from worker.plugins import Catalogue, discover  # noqa: E402
from worker.protocol import (  # noqa: E402
    MAX_TEXT,
    Decoder,
    Felled,
    Forked,
    Message,
    Refused,
    Spawn,
    ZygoteReady,
    encode,
)
from worker.system import (  # noqa: E402
    die_with_parent,
    forbid_inspection,
    forbid_new_privileges,
    fork_into,
)

READ_BYTES = 65536
# We outlive our supervisor by less than a second (P4): a huge folder is left to the next one.
SWEEP_S = 0.2


@dataclass(frozen=True)
class Config:
    """What the supervisor says at the start, as the JSON of the only argument.

    `preload` are modules imported before the plugins; `felled` are plugins that a zygote before
    us ended with. `lazy` and `failed` map plugins that are not imported here to the reason (set
    by ourselves, when we start over without them).
    """

    control_fd: int
    supervisor_pid: int
    plugin_dir: str
    storage_dir: str
    max_output_bytes: int
    limits: dict[str, int]
    preload: tuple[str, ...] = ("crewai",)
    lazy: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    felled: tuple[Felled, ...] = ()
    cgroup: str = ""


class Zygote:
    """Holds what every worker starts with, and forks them."""

    def __init__(self, config: Config, control: socket.socket) -> None:
        self._config = config
        self._control = control
        self._catalogue = Catalogue()
        self._imports = Imports(dict(config.lazy), dict(config.failed), config.felled)

    def prepare(self) -> None:
        """Import, check the gate after each step, freeze, and say that we are ready."""
        started = time.monotonic()
        for module in self._config.preload:
            importlib.import_module(module)
        self._warm()
        gate.check("the import of " + ", ".join(self._config.preload))
        self._catalogue = discover(Path(self._config.plugin_dir))
        if any(plugin.manifest.env for plugin in self._catalogue.plugins.values()):
            # In all workers from their first moment: what a crew had opened of another worker's
            # memory before its run would stay open, and be read when a secret is there.
            forbid_inspection()
        for name, plugin in self._catalogue.plugins.items():
            if not self._imports.add(name, plugin.path, self._tell):
                self._start_over()
        _ignore_handlers_of_imports()
        # Without the freeze a single collection in a child makes 69 MB private (trap O11).
        gc.collect()
        gc.freeze()
        # Again, for its count: a full collection waits until there is a quarter as much new
        # as the last one found, and what is frozen is not there to be found any more.
        gc.collect()
        huge_pages.use()
        self._tell(
            ZygoteReady(
                modules=len(sys.modules),
                import_s=time.monotonic() - started,
                lazy=self._imports.lazy,
                failed=self._imports.failed,
                code=self._imports.code(),
            )
        )

    def serve(self) -> None:
        """Fork a worker for each order until the supervisor is gone."""
        decoder = Decoder()
        while True:
            data, fds, _flags, _address = socket.recv_fds(self._control, READ_BYTES, 64)
            if not data:
                return
            orders = [word for word in decoder.feed(data) if isinstance(word, Spawn)]
            # The kernel never glues two messages with descriptors together, so these are
            # those of one order: socket, log pipe and, where there is one, control group.
            for order in orders:
                self._obey(order, fds)
            for fd in fds:
                os.close(fd)

    def _warm(self) -> None:
        try:
            warmup.warm()
        except Exception as error:  # noqa: BLE001  # slower first kickoffs, no reason to stop
            print(f"warm-up left out: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  # our log

    def _obey(self, order: Spawn, fds: list[int]) -> None:
        if threads := gate.threads():
            self._tell(Refused(order=order.order, reason=gate.sentence("while idle", threads)))
            return
        # Made before the fork, so that its pages are not each worker's own.
        berths = [Path(self._config.storage_dir, f"s{order.slot}{end}") for end in ("", "b")]
        folder = berths.pop(order.berth)
        folders = Folders(folder, berths[0], is_ahead=order.is_ahead)
        executor = Executor(
            self._catalogue, self._imports.namespaces, self._config.max_output_bytes, folders
        )
        pid = self._fork(order, fds, executor, folder)
        if pid:
            self._tell(Forked(order=order.order, pid=pid))
        else:
            reason = "the system has no room for another process"
            self._tell(Refused(order=order.order, reason=reason, is_passing=True))

    def _fork(self, order: Spawn, fds: list[int], executor: Executor, folder: Path) -> int:
        """Fork twice; return the pid of the grandchild, which the supervisor adopts.

        0 when the system has no room for it.
        """
        read_end, write_end = os.pipe()
        try:
            intermediate = fork_into(fds[2]) if fds[2:] else os.fork()
        except OSError:
            os.close(read_end)
            os.close(write_end)
            return 0
        if intermediate == 0:
            # Nothing may return from here: this is a copy of the zygote with all its frames.
            try:
                parent = os.getpid()
                if (worker := os.fork()) == 0:
                    berth = self._berth(order, fds, parent, folder)
                    self._become_worker(berth, executor)
                os.write(write_end, worker.to_bytes(4, "big"))
            finally:
                os._exit(0)
        os.close(write_end)
        pid = int.from_bytes(os.read(read_end, 4), "big")
        os.close(read_end)
        os.waitpid(intermediate, 0)
        return pid

    def _berth(self, order: Spawn, fds: list[int], parent: int, folder: Path) -> Berth:
        supervisor, limits = self._config.supervisor_pid, self._config.limits
        return Berth(order.slot, fds[0], fds[1], supervisor, parent, folder, limits)

    def _become_worker(self, berth: Berth, executor: Executor) -> NoReturn:
        try:
            settle(berth)
            serve(berth.slot, socket.socket(fileno=berth.socket_fd), executor)
        except BaseException:  # noqa: BLE001  # nothing may return into the zygote's frames
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)

    def _start_over(self) -> NoReturn:
        """Become a new zygote that leaves a plugin out: a thread cannot be taken back."""
        lazy, failed = self._imports.lazy, self._imports.failed
        left_out = {"lazy": [*lazy.items()], "failed": [*failed.items()]}
        facts = {**vars(self._config), **left_out}
        os.set_inheritable(self._config.control_fd, True)  # positional-only
        arguments = [sys.executable, "-P", "-m", "worker.zygote", json.dumps(facts)]
        os.execv(sys.executable, arguments)  # noqa: S606  # our own interpreter, no shell

    def _tell(self, word: Message) -> None:
        self._control.sendall(encode(word))


def _ignore_handlers_of_imports() -> None:
    """We end when the supervisor ends, and by nothing that a library installed.

    A handler for SIGCHLD, for one, would run at each of our own forks.
    """
    reset_signals()
    # Ignored by a library in C, which Python does not hear of, our forks would be gone unwaited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)


def main() -> int:
    """Be the zygote. Returns when the supervisor is gone; 1 when it cannot start."""
    config = _config_of(sys.argv[1])
    # While we import we cannot listen, so the kernel watches the supervisor for us.
    die_with_parent()
    forbid_new_privileges()
    janitor.wear(os.environ.get(janitor.MARKER, ""))
    if os.getppid() != config.supervisor_pid:
        return 0
    # crewai writes to both while it is imported; else it would be to our user's home, and to
    # a folder that we share with everybody.
    os.environ["CREWAI_STORAGE_DIR"] = os.environ["TMPDIR"] = config.storage_dir
    setproctitle.setproctitle("crewpool zygote importing")
    os.set_inheritable(config.control_fd, False)  # positional-only
    control = socket.socket(fileno=config.control_fd)
    zygote = Zygote(config, control)
    try:
        zygote.prepare()
    except BaseException as error:  # whatever an import raises is the reason
        reason = f"{type(error).__name__}: {error}"[:MAX_TEXT]
        control.sendall(encode(Refused(reason=reason)))
        raise
    setproctitle.setproctitle("crewpool zygote")
    # From here on we do listen, and outlive the supervisor long enough to sweep up.
    die_with_parent(0)
    try:
        if os.getppid() == config.supervisor_pid:
            zygote.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it died while we answered
    # Not after an error of our own: the workers have nothing to do with that, and run on.
    janitor.sweep(os.environ.get(janitor.MARKER, ""), config.cgroup)
    leftovers.remove(Path(config.storage_dir), leftovers.after(SWEEP_S))
    return 0


def _config_of(argument: str) -> Config:
    facts: dict[str, Any] = json.loads(argument)
    facts["preload"] = tuple(facts.get("preload", ()))
    for key in ("lazy", "failed"):
        facts[key] = tuple((name, reason) for name, reason in facts.get(key, ()))
    facts["felled"] = tuple(Felled(*felled) for felled in facts.get("felled", ()))
    return Config(**facts)


if __name__ == "__main__":
    sys.exit(main())
