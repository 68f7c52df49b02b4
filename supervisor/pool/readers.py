"""Connects descriptors of workers and zygotes to the asyncio loop: readable means ring.

Reading the socket is left to the pool, in its turn. A crew's log lines are passed on right
away, within a budget: a crew that floods its stdout is read slowly, which makes it wait.
"""

import asyncio
from collections.abc import Callable

from supervisor.pool.handle import Handle, State
from supervisor.pool.spawner import Zygote

FLOOD_PAUSE_S = 0.1


class Readers:
    """The descriptors we listen to."""

    def __init__(
        self,
        ring: Callable[[], None],
        tell_line: Callable[[Handle, str], None],
        clock: Callable[[], float],
    ) -> None:
        # Programs beside the pool that are children of ours and must be left alone.
        self.companions: set[int] = set()
        self._ring = ring
        self._tell_line = tell_line
        self._clock = clock
        self._rang: set[Handle] = set()

    def add(self, handle: Handle) -> None:
        """Listen to a worker's socket and log."""
        loop = asyncio.get_running_loop()
        loop.add_reader(handle.sock, self._note, handle)
        loop.add_reader(handle.log_fd, self._read_log, handle)

    def take(self) -> list[Handle]:
        """Return the workers whose sockets rang since the last call."""
        rang, self._rang = self._rang, set()
        return [handle for handle in rang if handle.state is not State.GONE]

    def drop_socket(self, handle: Handle) -> None:
        """Stop listening to a socket that is at its end; it would ring for ever."""
        asyncio.get_running_loop().remove_reader(handle.sock)

    def drop(self, handle: Handle) -> None:
        """Stop listening to a worker that is gone, after its last lines."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(handle.sock)
        loop.remove_writer(handle.sock)
        loop.remove_reader(handle.log_fd)
        self.drain_log(handle)

    def hear(self, handle: Handle) -> None:
        """Read on in a log that is not listened to for its flood: stacks are on their way."""
        handle.read_log(lambda line: self._tell_line(handle, line), self._clock())

    def drain_log(self, handle: Handle) -> None:
        """Read what a crew printed before its outcome, so that no line goes to the next run.

        Only what a pipe holds: a child of the crew may go on writing for ever.
        """

        def tell(line: str) -> None:
            self._tell_line(handle, line)

        for _ in range(4):
            if not handle.read_log(tell, self._clock()):
                break
        # A last line without its end belongs to this run too, and is masked with its secrets.
        handle.lines.feed(b"", tell, self._clock())

    def flush(self, handle: Handle) -> None:
        """Send the rest of a large assignment as the worker takes it."""
        loop = asyncio.get_running_loop()
        if handle.state is State.GONE or handle.flush():
            loop.remove_writer(handle.sock)
        else:
            loop.add_writer(handle.sock, self.flush, handle)

    def add_zygote(self, zygote: Zygote) -> None:
        """Listen to a zygote."""
        asyncio.get_running_loop().add_reader(zygote.sock, self._ring)

    def drop_zygote(self, zygote: Zygote) -> None:
        """Stop listening to a zygote."""
        if zygote.sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(zygote.sock)

    def _note(self, handle: Handle) -> None:
        self._rang.add(handle)
        self._ring()

    def _read_log(self, handle: Handle) -> None:
        handle.read_log(lambda line: self._tell_line(handle, line), self._clock())
        loop = asyncio.get_running_loop()
        if handle.is_log_over:
            loop.remove_reader(handle.log_fd)
        elif handle.lines.is_flooding:
            loop.remove_reader(handle.log_fd)
            loop.call_later(FLOOD_PAUSE_S, self._listen_again, handle)

    def _listen_again(self, handle: Handle) -> None:
        if handle.state is not State.GONE and not handle.is_log_over:
            asyncio.get_running_loop().add_reader(handle.log_fd, self._read_log, handle)
