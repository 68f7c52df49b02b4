"""The plugins' code, imported ahead of all runs, as far as that can be: what workers share.

Called by the zygote, once for each plugin. Nothing that an import does may end the zygote, or
stay behind in it; a plugin that cannot be imported here is left to the workers, where it fails
alone and with its own words.
"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from worker import gate
from worker.code import code_hash
from worker.crew.audit import running_children
from worker.crew.namespace import Namespace
from worker.crew.output import clean
from worker.protocol import Felled, Importing

# Characters: the reasons of all plugins stand in one argument when the zygote starts over.
MOST_REASON = 500


class Imports:
    """What has been imported, by plugin, and why the others have not.

    `lazy` (they start threads or processes) and `failed` map names to reasons.
    """

    def __init__(
        self, lazy: Mapping[str, str], failed: Mapping[str, str], felled: Iterable[Felled]
    ) -> None:
        self.namespaces: dict[str, Namespace] = {}
        self.lazy = dict(lazy)
        self.failed = dict(failed)
        self._felled = {it.plugin: it for it in felled}

    def add(self, name: str, folder: Path, tell: Callable[[Importing], None]) -> bool:
        """Import one plugin's crew; `tell` is called before, for that may be our last word.

        False when something runs on that cannot be taken back: start over, and leave it out.
        """
        namespace = self.namespaces[name] = Namespace(folder)
        if self._is_felled(name, folder) or name in self.lazy or name in self.failed:
            return True
        tell(Importing(plugin=name, code=namespace.code))
        ourselves = os.getpid()
        try:
            with namespace.entered():
                namespace.load()
        except BaseException as error:  # noqa: BLE001  # SystemExit at import must not end us
            self.failed[name] = f"its import failed: {_told(error)}"
        if os.getpid() != ourselves:
            # The import has forked, and we are the copy: two zygotes would obey on one socket.
            os._exit(0)
        if (left := _left_by(name)) and name not in self.failed:
            self.lazy[name] = left[:MOST_REASON]
        return not left

    def code(self) -> dict[str, str]:
        """Return the hashes of what was imported."""
        left_out = self.lazy.keys() | self.failed.keys()
        return {name: it.code for name, it in self.namespaces.items() if name not in left_out}

    def _is_felled(self, name: str, folder: Path) -> bool:
        """Tell whether a zygote ended with this plugin, and its code is still the same."""
        felled = self._felled.get(name)
        if felled is None or (code := code_hash(folder)) != (felled.code or code):
            return False
        self.failed[name] = felled.reason
        if felled.is_refused:
            self.namespaces[name].refuse(code, felled.reason)
        return True


def _left_by(name: str) -> str:
    """Say what an import left running, "" for nothing. Processes are ended: nobody would do
    that after a run, and workers do not expect one for all of them.
    """
    if threads := gate.threads():
        return gate.sentence(f"the import of {name}", threads)
    children = running_children()
    for pid in (int(child.split()[0]) for child in children):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    told = ", ".join(children)
    return f"the import of {name} left {len(children)} process(es) running ({told})" if told else ""


def _told(error: BaseException) -> str:
    """Describe an error of a plugin, which may fail to describe itself."""
    try:
        said = clean(f"{type(error).__name__}: {error}")
    except BaseException as worse:  # noqa: BLE001  # plugin code, too
        said = f"{type(error).__name__} (cannot be told: {type(worse).__name__})"
    return said[:MOST_REASON]
