"""Plugins whose import ended a zygote, or kept it from getting ready: what the next one is told.

Used by the spawner and by the doctor. A zygote says which plugin it is about to import, so that
the one it died of can be left out by its successor, and the others serve on. Facts in, decisions
out; the only look outside is whether there is such a plugin.
"""

from collections.abc import Container
from pathlib import Path

from worker.protocol import Felled, Importing

# Characters: the reasons of all plugins stand in one argument of the next zygote.
MOST_REASON = 500
# What a process brings upon itself. Any other signal may have come from outside.
FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP")


def felled_by(word: Importing, how: str, cut_off: str = "") -> Felled:
    """Return what the end of a zygote makes of the plugin that it was importing.

    `how` is its status in words ("exit 3"), `cut_off` why it was us who ended it. The runs of a
    plugin that surely did it by itself fail without being tried. What was killed, by us for
    being late or by somebody else, is left to the workers: it may be slow, or innocent.
    """
    is_refused = not cut_off and (how.startswith("exit ") or how in FAULTS)
    told = f"was cut off: {cut_off}" if cut_off else f"ended the zygote with {how}"
    return Felled(word.plugin, word.code, f"its import {told}"[:MOST_REASON], is_refused=is_refused)


class FelledPlugins:
    """Those of one supervisor. `folder` is where the plugins stand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Felled] = {}
        # Since a zygote was ready: who is named again has not been left out, or is no plugin.
        self._named: set[str] = set()

    def note(self, felled: Felled) -> bool:
        """Take one in; True when the next zygote has a better chance, since it leaves it out.

        Plugin code may have said the name: what does not bring us on counts as a failure.
        """
        known = self._known.get(felled.plugin) if felled.plugin in self._named else None
        if known is not None and known.code not in ("", felled.code):
            # Its import writes into its own folder: out it stays, whatever its code is.
            felled = felled._replace(code="")
        elif felled.plugin in self._named or not (self._folder / felled.plugin).is_dir():
            return False
        self._named.add(felled.plugin)
        self._known[felled.plugin] = felled
        return True

    def note_ready(self, left_out: Container[str]) -> None:
        """Forget those that a zygote has imported after all, their code being another."""
        self._named.clear()
        self._known = {name: it for name, it in self._known.items() if name in left_out}

    def try_again(self) -> None:
        """Have those imported again whose runs fail: what they lacked may be there by now."""
        self._known = {name: it for name, it in self._known.items() if not it.is_refused}

    def as_told(self) -> tuple[Felled, ...]:
        """Return what the next zygote shall leave out, each as long as its code is the same."""
        return tuple(self._known.values())
