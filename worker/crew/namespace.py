"""Gives each plugin modules of its own, so that two `crew/crew.py` do not meet.

While a plugin is loaded or runs, its folder stands first on sys.path and its modules stand
in sys.modules under the names its author gave them (`crew.crew`, `crew.tools`); in between
they are put away. Absolute, relative and late imports all work, and pickling finds the
module by its name. One plugin at a time, which is what a worker does anyway.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import ModuleType

from worker.code import code_hash

ENTRY = "crew.crew"
MARK = "crewpool plugin modules begin here"


class Namespace:
    """The modules of one plugin. `load()` imports its crew once; later calls are free."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._modules: dict[str, ModuleType] = {}
        self._added: list[str] = []
        self._code = ""
        self._is_spoilt = False
        self._refused: tuple[str, str] | None = None

    @property
    def code(self) -> str:
        """The hash of the plugin's files, as they were when its crew was to be imported."""
        if not self._code:
            self._code = code_hash(Path(self._folder))
        return self._code

    @property
    def is_loaded(self) -> bool:
        """Whether its crew is imported; to be asked outside `entered()`."""
        return ENTRY in self._modules

    def refuse(self, code: str, reason: str) -> None:
        """Have load() raise ImportError with this reason, as long as the code has this hash."""
        self._refused = (code, reason)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put the plugin's folder and modules in place, and away again afterwards."""
        hidden = {name: sys.modules.pop(name) for name in _names_in_the_way()}
        # sys.modules keeps the order of imports: what stands behind the mark came with us.
        # Looking at all 2,400 modules would cost a fresh worker 40 ms of copied pages.
        sys.modules[MARK] = ModuleType(MARK)
        sys.modules.update(self._modules)
        common = sys.path[:]
        sys.path[:0] = [self._folder, *self._added]
        try:
            yield
        finally:
            # What the plugin put on the path (a vendored folder) is for itself alone.
            added = [place for place in sys.path if place not in common]
            self._added = [place for place in added if place != self._folder]
            sys.path[:] = common
            for name in list(takewhile(MARK.__ne__, reversed(sys.modules))):
                if self._owns(sys.modules[name]):
                    self._modules[name] = sys.modules.pop(name)
            if self._is_spoilt:
                # What an import that failed has left may be mended before the next one.
                self._modules, self._is_spoilt = {}, False
            sys.modules.pop(MARK, None)
            sys.modules.update(hidden)

    def load(self) -> ModuleType:
        """Import the plugin's crew; call it inside `entered()`. Raises what the code raises."""
        self._code = self.code  # before the import: what changes from now on is not in it
        # No .pyc: it is taken for its source's when second and size are the same, and so a
        # file that is saved twice in a second would stay as it was.
        writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            self._check()
            return importlib.import_module(ENTRY)
        except BaseException:
            self._is_spoilt, self._code = True, ""
            raise
        finally:
            sys.dont_write_bytecode = writes_none

    def _check(self) -> None:
        if self._refused and self._refused[0] == self._code:
            raise ImportError(f"the plugin cannot be imported: {self._refused[1]}")

    def _owns(self, module: ModuleType | None) -> bool:
        # A package without __init__.py has no __file__, only a path.
        places = [getattr(module, "__file__", None), *list(getattr(module, "__path__", ()) or ())]
        return any(place and place.startswith(self._folder + "/") for place in places)


def _names_in_the_way() -> list[str]:
    """Return modules that somebody else imported as `crew`: they would be found first."""
    if "crew" not in sys.modules:
        return []
    return [name for name in sys.modules if name == "crew" or name.startswith("crew.")]
