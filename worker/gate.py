"""The fork gate: a process with a second thread must not be forked.

Asked by the zygote after each import and before each fork. The kernel's count is what
matters: BLAS and telemetry start threads that Python does not list (traps C3, C4).
"""

import os
import threading
from pathlib import Path

from worker.errors import CrewpoolError


class ForkGateClosed(CrewpoolError):  # noqa: N818  # named for what happened
    """A thread runs where none may."""


def threads() -> list[str]:
    """Return the names of all threads but ours; empty when the gate is open."""
    tasks = [folder.name for folder in Path("/proc/self/task").iterdir()]
    others = [entry for entry in tasks if int(entry) != os.getpid()]
    if not others:
        return []
    known = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    return [known.get(entry) or _kernel_name(entry) for entry in others]


def sentence(when: str, names: list[str]) -> str:
    """Say which threads closed the gate."""
    return (
        f"fork gate closed: {when} left {len(names)} thread(s) running ({', '.join(names)}); "
        "a process with threads cannot be forked safely"
    )


def check(when: str) -> None:
    """Raise ForkGateClosed when there is a second thread."""
    if names := threads():
        raise ForkGateClosed(sentence(when, names))


def _kernel_name(entry: str) -> str:
    try:
        return Path(f"/proc/self/task/{entry}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return f"thread {entry}"
