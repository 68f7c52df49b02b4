"""What the embedded server and the offline model have in common: a child that is started,
asked whether it lives, and stopped, also as a context manager.
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from supervisor.embedded.children import Child


class Companion(ABC):
    """A program of ours beside the supervisor. `_child` is there between start and stop.

    `name` is what the log calls it.
    """

    name: str

    def __init__(self) -> None:
        self._child: Child | None = None
        self._port = 0

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers."""

    @abstractmethod
    def begin_again(self) -> None:
        """Start a program that has died, where its clients look for it; wait for nothing.

        Raises OSError and SubprocessError.
        """

    def ask(self) -> None:
        """Ask it to end, and do not wait. `stop()` waits."""
        if self._child is not None:
            self._child.ask()

    @abstractmethod
    def stop(self) -> None:
        """End it and leave nothing behind."""

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; 0 before `start()`."""
        return self._port

    @property
    def child(self) -> Child:
        """Its process. Only after `start()`."""
        assert self._child is not None  # noqa: S101  # callers have started it
        return self._child

    @property
    def pid(self) -> int | None:
        """The process id, None when it was not started."""
        return self._child.pid if self._child else None

    def is_alive(self) -> bool:
        """Say whether its process runs."""
        return self._child is not None and self._child.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
