"""Where a supervisor stands: its phase, its size, whether it is paused, and what follows.

Changed by the loop and by orders.py, and by nobody else. Pure: it kills and starts nothing.
"""

from supervisor.phases import Ask, Phase
from supervisor.scaling import Bounds
from supervisor.settings import Settings
from supervisor.streams.messages import MOST_WORKERS
from supervisor.verdicts import LEAVING, PAUSED, SCALED_DOWN


class Standing:
    """`size` is the number of slots that are wanted; it follows the backlog within `bounds`."""

    def __init__(self, size: int, drain_s: float, bounds: Bounds | None = None) -> None:
        self.phase = Phase.STARTING
        self.bounds = bounds
        self.size = bounds.nearest(size) if bounds else size
        self.is_paused = False
        self.paused_because = ""
        self._drain_s = drain_s
        self._drain_until: float | None = None
        self._was_told_to_leave = False

    @classmethod
    def of(cls, settings: Settings) -> "Standing":
        """Return where a supervisor begins."""
        most = settings.max_workers
        bounds = Bounds(settings.min_workers or 1, most) if most is not None else None
        return cls(settings.workers, settings.drain_s, bounds)

    @property
    def word(self) -> str:
        """The phase as it is shown; a pause is one as long as we are not leaving."""
        if self.is_paused and self.phase is Phase.RUNNING:
            return "paused"
        return self.phase.name.lower()

    @property
    def follows(self) -> bool:
        """Whether the size follows the backlog: one that was set out of bounds is fixed."""
        return self.bounds is not None and self.bounds.hold(self.size)

    @property
    def size_told(self) -> str:
        """What whoever sets the size has to know besides; "" when it just stays."""
        if self.bounds is None:
            return ""
        within = f"{self.bounds.fewest} to {self.bounds.most}"
        if self.follows:
            return f", which follows the backlog within {within}"
        return f", which is out of {within} and stays until a size within comes"

    @property
    def taking_size(self) -> int:
        """How many slots may begin runs now."""
        return 0 if self.phase.is_leaving or self.is_paused else self.size

    @property
    def surplus_because(self) -> str:
        """Why a run that comes for a slot which may not begin it is handed back."""
        if self.phase.is_leaving:
            return LEAVING
        return PAUSED if self.is_paused else SCALED_DOWN

    @property
    def pool_size(self) -> int:
        """How many workers there shall be now."""
        return 0 if self.phase >= Phase.STOPPING else self.size

    @property
    def drain_alarm(self) -> float | None:
        """When the drain has run out; None when there is none."""
        return self._drain_until if self.phase is Phase.DRAINING else None

    def not_running_because(self) -> str:
        """Return why nothing is taken, "" when we would; for readiness."""
        if self.word == "running":
            return ""
        because = (
            f": {self.paused_because}" if self.word == "paused" and self.paused_because else ""
        )
        return f"the supervisor is {self.word}{because}"

    def ask(self, ask: Ask, now: float) -> bool:
        """Go on as somebody asked; True when we begin to leave with it."""
        if ask is Ask.DRAIN and self._was_told_to_leave:
            # After a message, the first TERM is no second one: orchestrators send it always.
            ask, self._was_told_to_leave = Ask.LEAVE, False
        elif ask is Ask.LEAVE and not self.phase.is_leaving:
            self._was_told_to_leave = True
        before, self.phase = self.phase, self.phase.after(ask)
        begins = self.phase.is_leaving and not before.is_leaving
        if begins:
            self._drain_until = now + self._drain_s
        return begins

    def resize(self, size: int) -> None:
        """Want so many slots, as far as there can be so many."""
        self.size = min(max(size, 0), MOST_WORKERS)

    def pause(self, because: str) -> None:
        """Take nothing until resume()."""
        self.is_paused, self.paused_because = True, because

    def resume(self) -> None:
        """Take runs again."""
        self.is_paused, self.paused_because = False, ""
