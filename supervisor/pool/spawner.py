"""The zygote as seen from here: starts it, sends it orders, replaces it when it dies.

A new generation is started beside the old one on reload. One that is ready waits to be
accepted or refused (supervisor/reloading.py); orders go to the one that was accepted last.
Reading and writing never block.
"""

import os
import signal
import socket
import subprocess
from collections import deque
from dataclasses import dataclass, field

from supervisor.pool import hardkill
from supervisor.pool.backoff import delay_s
from supervisor.pool.cgroups import Cgroups
from supervisor.pool.felled import FelledPlugins, felled_by
from supervisor.pool.handle import Handle
from supervisor.pool.plan import ZygotePlan
from worker.errors import FrameInvalid
from worker.protocol import Decoder, Importing, Message, Refused, Spawn, ZygoteReady, encode

READ_BYTES = 1 << 16
READS_AT_ONCE = 4


@dataclass
class Zygote:
    """One zygote process of ours. `word` is what it said when it was ready, `importing` what it
    was about to import last, before that.
    """

    pid: int
    sock: socket.socket
    generation: int
    started_at: float
    word: ZygoteReady | None = None
    importing: Importing | None = None
    is_leaving: bool = False
    is_refused: bool = False
    has_served: bool = False
    reason: str = ""
    is_faulty: bool = False
    decoder: Decoder = field(default_factory=Decoder)
    words: deque[Message] = field(default_factory=deque)

    def read(self) -> None:
        """Take in what it said. One that breaks the protocol, or talks no more, is faulty."""
        # Not until it is silent, as with workers: a plugin may have left it a chatterbox.
        for _ in range(READS_AT_ONCE):
            try:
                data = self.sock.recv(READ_BYTES)
            except OSError:  # BlockingIOError too: nothing more for now
                return
            try:
                self.words.extend(self.decoder.feed(data))
            except FrameInvalid as error:
                self.reason, self.is_faulty = str(error), True
            if self.is_faulty or not data:
                self.is_faulty = True
                return


class Spawner:
    """Keeps one zygote ready and turns orders into workers."""

    def __init__(self, plan: ZygotePlan, cgroups: Cgroups) -> None:
        self.cgroups = cgroups
        self._plan = plan
        self._generation = 1
        self._code: dict[str, str] | None = None
        self._serial = 0
        self._felled = FelledPlugins(plan.plugin_dir)
        self._again: int | None = None
        self.current: Zygote | None = None
        self.coming: Zygote | None = None
        self.leaving: list[Zygote] = []
        self.failures = 0
        self.last_reason = ""
        self._not_before = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether an order would be carried out now."""
        return self.current is not None

    @property
    def is_renewing(self) -> bool:
        """Whether a zygote is coming, be it at its second try without a plugin."""
        return self.coming is not None or self._again is not None

    @property
    def zygotes(self) -> list[Zygote]:
        """The processes that are ours now."""
        active = [zygote for zygote in (self.current, self.coming) if zygote is not None]
        return active + self.leaving

    @property
    def generation(self) -> int:
        """The code that new workers run: one more with each reload that worked.

        0 while there is no zygote: nobody is outdated when nothing newer can be had.
        """
        return self.current.generation if self.current else 0

    def tend(self, now: float, *, is_wanted: bool) -> Zygote | None:
        """Start a zygote when none is there and it is time; kill one that hangs at boot.

        Returns the new one. `is_wanted`: there shall be workers.
        """
        if self.coming and now - self.coming.started_at > self._plan.boot_timeout_s:
            self.coming.reason = f"it was not ready after {self._plan.boot_timeout_s:g}s"
            os.kill(self.coming.pid, signal.SIGKILL)
            self.coming.started_at = now
        if self.coming or now < self._not_before or not (is_wanted or self.is_renewing):
            return None
        if self._again is not None:
            generation, self._again = self._again, None
            return self._start(generation, now)
        return None if self.current else self._start(self._generation, now)

    def renew(self, now: float) -> Zygote | None:
        """Start the next generation beside the current one; None when one is coming."""
        if self.is_renewing:
            return None
        self._felled.try_again()
        return self._start(self._generation + 1, now)

    def next_alarm(self, *, is_wanted: bool) -> float | None:
        """Return when tend() has something to do, or None."""
        if self.coming:
            return self.coming.started_at + self._plan.boot_timeout_s
        is_missing = self._again is not None or (is_wanted and self.current is None)
        return self._not_before if is_missing else None

    def order(self, slot: int, now: float, ahead_of: Handle | None = None) -> Handle | None:
        """Order a worker for a slot; None when the zygote cannot take the order now.

        `ahead_of` is who has the slot and goes on until the new one has booted.
        """
        if self.current is None:
            return None
        self._serial += 1
        handle = Handle(slot, self._serial, now, self.current.generation)
        handle.zygote_pid = self.current.pid
        handle.code = self.current.word.code if self.current.word else {}
        if ahead_of is not None:
            handle.berth, handle.is_alone = 0 if ahead_of.berth else 1, False
        frame = encode(
            Spawn(slot=slot, order=handle.order, berth=handle.berth, is_ahead=ahead_of is not None)
        )
        try:
            with self.cgroups.opened(handle) as group:
                socket.send_fds(self.current.sock, [frame], [*handle.descriptors_to_give(), *group])
        except OSError:
            # Its death is about to be reaped, which starts the next one.
            self.cgroups.release(handle)
            handle.given_away()
            handle.close()
            return None
        handle.given_away()
        return handle

    def note_ready(self, zygote: Zygote, word: ZygoteReady) -> None:
        """Keep what the coming zygote has imported. Plugin code may say it again, to no effect."""
        if zygote is self.coming and zygote.word is None:
            zygote.word = word
            self._felled.note_ready(word.failed)

    def accept(self, zygote: Zygote) -> None:
        """Put the coming zygote in charge, and end the one that it replaces."""
        old, self.current, self.coming = self.current, zygote, None
        code = zygote.word.code if zygote.word else {}
        if zygote.generation == self._generation and code != self._code and self._code is not None:
            # One that died was replaced, and files had changed: all workers shall run the same.
            zygote.generation += 1
        self._generation, self._code = zygote.generation, code
        if old is not None:
            self._end(old)

    def refuse(self, zygote: Zygote, reason: str) -> None:
        """End the coming zygote; the current one stays."""
        self.coming = None
        zygote.reason, zygote.is_refused = reason, True
        self._end(zygote)

    def note_worker_ready(self) -> None:
        """Forget failures: a zygote has proved itself with the first worker that boots."""
        self.failures = 0
        if self.current is not None:
            self.current.has_served = True

    def note_refused(self, zygote: Zygote, word: Refused) -> None:
        """Remember why it cannot; a zygote that cannot fork any more has to go."""
        zygote.reason = word.reason
        if zygote.word is not None:
            os.kill(zygote.pid, signal.SIGKILL)

    def note_death(self, pid: int, how: str, now: float) -> Zygote | None:
        """Take the death of a zygote into account; None when that pid is none of theirs."""
        zygote = next((z for z in self.zygotes if z.pid == pid), None)
        if zygote is None:
            return None
        zygote.read()
        refused = [word for word in zygote.words if isinstance(word, Refused)]
        cut_off = zygote.reason
        zygote.reason = refused[-1].reason if refused else cut_off or f"it ended with {how}"
        if zygote is self.current:
            self.current = None
            if not zygote.has_served:
                self._note_failure(zygote.reason, now)
        elif zygote in self.leaving:
            self.leaving.remove(zygote)
        else:
            self.coming = None
            if self._is_felled(zygote, how, cut_off):
                # At once, and no failure: another one leaves the plugin out.
                self._again = zygote.generation
            # A reload that fails is no reason to give up: the old one still serves.
            elif self.current is None:
                self._note_failure(zygote.reason, now)
        return zygote

    def _is_felled(self, zygote: Zygote, how: str, cut_off: str) -> bool:
        """Tell whether it was a plugin that ended it, which is left out from now on."""
        words = [zygote.importing, zygote.word, *zygote.words]
        last = [word for word in words if isinstance(word, Importing | ZygoteReady)][-1:]
        if not last or isinstance(last[0], ZygoteReady):
            return False
        zygote.reason += f", while it imported the plugin {last[0].plugin}"
        return self._felled.note(felled_by(last[0], how, cut_off))

    def _note_failure(self, reason: str, now: float) -> None:
        self.failures += 1
        self.last_reason = reason
        self._not_before = now + delay_s(self.failures)

    def _end(self, zygote: Zygote) -> None:
        zygote.is_leaving = True
        self.leaving.append(zygote)
        hardkill.kill_tree(zygote.pid)

    def _start(self, generation: int, now: float) -> Zygote | None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            process = self._plan.start(theirs.fileno(), self._felled.as_told())
        except (OSError, subprocess.SubprocessError) as error:
            self.last_reason = f"it cannot be started: {error}"
            # A reload that fails is no reason to give up: the old one still serves.
            if self.current is None:
                self._note_failure(self.last_reason, now)
            ours.close()
            return None
        finally:
            theirs.close()
        # Reaped by pool/reaper.py alone: Popen must not wait for it when it is collected.
        process.returncode = 0
        self.coming = Zygote(process.pid, ours, generation, now)
        return self.coming
