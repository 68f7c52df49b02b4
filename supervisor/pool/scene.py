"""What the threads of a worker are doing at one moment, read from /proc."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One look at a process."""

    pid: int


def read_scene(pid: int) -> Scene:
    """Return what is going on."""
    return Scene(pid)
