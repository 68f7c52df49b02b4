"""Everything the demo needs, in one temporary folder and one child process, and its end.

The child is an ordinary `crewpool up`. It dies with us whatever happens to us, and takes
its own children along; what it writes goes below the folder.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import supervisor
from supervisor.cli.demo_runs import DIGEST, OVERRUNS, OVERRUNS_FILES
from supervisor.cli.failures import UsageWrong
from supervisor.embedded.children import Child, last_lines
from supervisor.embedded.offline_model import PROVIDER_KEYS
from supervisor.embedded.server import HOST, free_port

PREFIX = "crewpool-demo-"
STOP_WITHIN_S = 15.0
LAST_LINES = 25
# What would make the demo another one on each machine: settings, models, real keys.
_FOREIGN = ("REDIS_URL", "PLUGIN_DIR", "CREW_TIMEOUT_SECONDS", "MODEL", "MODEL_NAME", "BASE_URL")


class DemoWorld:
    """The temporary folder and the child. To be used with `with`, in the main thread."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._log: BinaryIO | None = None
        self.folder = Path()
        self.redis_url = ""

    def __enter__(self) -> Self:
        digest = _find_digest()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda n, _: sys.exit(128 + n))
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            self._fill(digest)
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def is_alive(self) -> bool:
        """Say whether the child runs."""
        return self._child is not None and self._child.is_alive()

    def last_lines(self) -> str:
        """Return the end of the child's log."""
        return last_lines(self._log, LAST_LINES) if self._log else ""

    def stop(self) -> None:
        """End the child and remove the folder. Safe to repeat."""
        # From here on nothing may disturb: whoever asks us to leave gets what he wants.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if self._child is not None:
            self._child.stop(STOP_WITHIN_S)
            self._child = None
        if self._log is not None:
            self._log.close()
            self._log = None
        if self.folder.name.startswith(PREFIX):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _fill(self, digest: Path) -> None:
        for name in ("plugins", "storage", "tmp"):
            (self.folder / name).mkdir()
        # An empty file, so that a crewpool.toml of the folder we stand in is not read.
        (self.folder / "crewpool.toml").touch()
        (self.folder / "plugins" / DIGEST).symlink_to(digest)
        for name, text in OVERRUNS_FILES.items():
            file = self.folder / "plugins" / OVERRUNS / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")

    def _start(self) -> None:
        port = free_port()
        self.redis_url = f"redis://{HOST}:{port}/0"
        environment = _environment(os.environ, self.folder)
        # Our own settings must be the child's: the names of the streams, above all.
        os.environ.clear()
        os.environ.update(environment)
        self._log = (self.folder / "up.log").open("w+b")
        self._child = Child(
            [sys.executable, "-P", "-m", "supervisor.cli", "up", "--redis-port", str(port)],
            output=self._log,
            folder=self.folder,
            environment=environment,
        )


def _environment(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    foreign = (*_FOREIGN, *PROVIDER_KEYS)
    kept = {
        name: value
        for name, value in environ.items()
        if name not in foreign and not name.startswith(("CREWPOOL_", "OPENAI_"))
    }
    root = str(Path(supervisor.__file__).parents[1])
    paths = [root, *filter(None, [environ.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": str(folder / "tmp"),
        "PLUGIN_DIR": str(folder / "plugins"),
        "CREWPOOL_CONFIG": str(folder / "crewpool.toml"),
        "CREWPOOL_STORAGE_DIR": str(folder / "storage"),
        "CREWPOOL_HTTP_PORT": "0",
        "CREWPOOL_WORKERS": "2",
        "CREWPOOL_DRAIN_S": "2",
    }


def _find_digest() -> Path:
    """Return the folder of the sample plugin: yours, this folder's, or the one we came with."""
    named = os.environ.get("PLUGIN_DIR")
    beside = Path(supervisor.__file__).parents[1] / "plugins"
    for folder in (*([Path(named)] if named else []), Path("plugins"), beside):
        if (folder / DIGEST / "plugin.yaml").is_file():
            return (folder / DIGEST).resolve()
    told = (
        f"The demo runs the sample plugin {DIGEST}, which is neither in PLUGIN_DIR nor in ./plugins"
    )
    raise UsageWrong(told, "PLUGIN_DIR=/path/to/crewpool/plugins crewpool demo")
