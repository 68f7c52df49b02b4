"""Carries out what comes over the control channel, and answers. The loop calls it.

Kills are left to the loop, which does them in their place: a run that ended in time is not
cancelled because we were late. What is asked for by signals, too, goes the way of signals.
"""

from collections.abc import Callable
from typing import Any

from supervisor.cancels import Cancels
from supervisor.phases import Ask
from supervisor.reloading import Reloading
from supervisor.standing import Standing
from supervisor.streams.messages import Order
from supervisor.verdicts import PAUSED, SCALED_DOWN
from supervisor.wiring import Parts


class Refused(Exception):  # noqa: N818  # named for what happened
    """An order that cannot be carried out; the text goes to whoever gave it."""


class Remote:
    """Carries out orders, for one supervisor; the `cancels` are for the loop to see to."""

    def __init__(self, parts: Parts, standing: Standing, reloading: Reloading) -> None:
        self.cancels = Cancels()
        self._reloading = reloading
        self._parts = parts
        self._standing = standing
        self._facts: dict[str, Any] = {}
        self._how: dict[str, Callable[[Order], str | None]] = {
            "cancel": self._cancel,
            "pause": self._pause,
            "resume": self._resume,
            "drain": self._drain,
            "scale": self._scale,
            "reload": self._reload,
            "ping": self._ping,
        }

    def carry_out(self) -> None:
        """Do all that was ordered since the last call."""
        for order in self._parts.control.take():
            self._facts = {}
            try:
                text, ok = self._how[order.kind](order), True
            except Refused as refused:
                text, ok = str(refused), False
            if text is not None:
                self._parts.control.answer(order, ok=ok, text=text, facts=self._facts)

    def _cancel(self, order: Order) -> str:
        in_hand = self._parts.ledger.in_hand
        slot = next((slot for slot, held in in_hand.items() if held.run_id == order.run), None)
        self._facts = {"in_hand": slot is not None}
        if slot is None or order.is_old:
            self.cancels.note(order.run, order.at_ms)
            return "not in hand here"
        self.cancels.note(order.run, order.at_ms, in_hand[slot].entry.id)
        self._log(order, run=order.run, slot=slot)
        return f"in hand in s{slot}: ends now"

    def _pause(self, order: Order) -> str:
        self._refuse_if_leaving()
        self._standing.pause(order.reason)
        self._parts.ledger.stop_wanting(because=PAUSED)
        self._changed(order, reason=order.reason or None)
        return "paused: takes no new runs"

    def _resume(self, order: Order) -> str:
        self._refuse_if_leaving()
        if not self._standing.is_paused:
            return "was not paused"
        self._standing.resume()
        self._changed(order)
        return "takes runs again"

    def _scale(self, order: Order) -> str:
        self._refuse_if_leaving()
        before = self._standing.size
        self._standing.resize(order.workers)
        self._parts.ledger.stop_wanting(order.workers, SCALED_DOWN)
        self._changed(order, workers=order.workers, before=before)
        return f"{before} slots before, {order.workers} now{self._standing.size_told}"

    def _drain(self, order: Order) -> str:
        if self._standing.phase.is_leaving:
            return f"is {self._standing.word} already"
        self._log(order)
        self._parts.signals.ask(Ask.LEAVE)
        return f"drains, {len(self._parts.ledger.in_hand)} runs in hand"

    def _reload(self, order: Order) -> None:
        """Answer when it has ended: whether the new code can be used is known only then."""
        self._refuse_if_leaving()
        self._log(order)

        def ended(ok: bool, text: str) -> None:  # noqa: FBT001  # a callback's shape
            self._parts.control.answer(order, ok=ok, text=text, facts={})

        self._reloading.tell(ended)
        self._parts.signals.ask(Ask.RELOAD)

    def _ping(self, _order: Order) -> str:
        self._facts = self._parts.snapshot(self._standing)
        slots = self._facts["workers"]
        busy = sum(slot["state"] == "busy" for slot in slots)
        return f"{self._standing.word}, {busy} of {len(slots)} busy"

    def _refuse_if_leaving(self) -> None:
        if self._standing.phase.is_leaving:
            raise Refused(f"it is {self._standing.word}")

    def _changed(self, order: Order, **facts: Any) -> None:
        self._log(order, **facts)
        self._parts.heartbeat.soon()

    def _log(self, order: Order, **facts: Any) -> None:
        self._parts.log.info("ordered", kind=order.kind, **facts)
