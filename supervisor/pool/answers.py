"""Takes in what zygotes answer: the pids of workers, that they are ready, why they cannot.

Called by the pool, which reads the zygotes before the workers: a worker whose pid is not
known yet cannot be killed.
"""

from collections.abc import Callable, Iterable

from supervisor.log import Log
from supervisor.pool.handle import Handle, State
from supervisor.pool.readers import Readers
from supervisor.pool.reaper import Corpse
from supervisor.pool.spawner import Spawner, Zygote
from worker.protocol import Forked, Refused, ZygoteReady


class Answers:
    """The zygotes' side of the pool. `kill_tree` ends a worker that was doomed unborn."""

    def __init__(
        self, spawner: Spawner, readers: Readers, kill_tree: Callable[[int], int], log: Log
    ) -> None:
        self.zygote_restarts = 0
        # Called with each worker whose pid becomes known, which is before its first run.
        self.at_claim: list[Callable[[Handle], None]] = []
        self._spawner = spawner
        self._readers = readers
        self._kill_tree = kill_tree
        self._log = log

    def read(self, handles: Iterable[Handle]) -> None:
        """Read all zygotes, and give the workers among `handles` their pids."""
        waiting = list(handles)
        for zygote in self._spawner.zygotes:
            zygote.read()
            self.note(zygote, waiting)

    def note(self, zygote: Zygote, handles: Iterable[Handle]) -> None:
        """Take in what one zygote has said so far."""
        while zygote.words:
            word = zygote.words.popleft()
            if isinstance(word, Forked):
                self._claim(word, handles)
            elif isinstance(word, ZygoteReady):
                self._spawner.note_ready(zygote, word)
            elif isinstance(word, Refused):
                self._log.error("zygote_refused", pid=zygote.pid, reason=word.reason)
                self._spawner.note_refused(zygote, word)

    def note_death(self, corpse: Corpse, now: float) -> Zygote | None:
        """Take the death of a zygote into account; None when this is none of theirs."""
        zygote = self._spawner.note_death(corpse.pid, corpse.how(), now)
        if zygote is None:
            return None
        # Closed only now that it is dead: a living one takes the end of its socket for our
        # death, and sweeps the workers up.
        self._readers.drop_zygote(zygote)
        zygote.sock.close()
        if zygote.is_refused:
            pass  # and reloading.py has said why
        elif zygote.is_leaving:
            self._log.info("zygote_replaced", pid=zygote.pid)
        else:
            self.zygote_restarts += 1
            self._log.warning("zygote_died", pid=zygote.pid, reason=zygote.reason)
        return zygote

    def _claim(self, word: Forked, handles: Iterable[Handle]) -> None:
        for handle in handles:
            if handle.order == word.order:
                handle.pid = word.pid
                for settle in self.at_claim:
                    settle(handle)
                if handle.state is State.DOOMED:
                    self._kill_tree(word.pid)
