"""What holds for the runs of a plugin: how often a run is started again after which end, and
how many may run at a time. The words of plugin.yaml and of the settings, checked; no I/O.
"""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Cause = Literal[
    "exception",
    "timeout",
    "crash",
    "oom",
    "lost",
    "invalid",
    "cancelled",
    "rate_limited",
    "needs_human",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
_PERIODS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_RATE = re.compile(r"([1-9]\d{0,3})\s*/\s*(\d{1,5}(?:\.\d{1,3})?)?\s*([smhd])", re.ASCII)
_RATE_FORM = "must look like 10/m or 100/5m: up to 1000 starts, a slash, a period of s, m, h or d"
MOST_STARTS = 1000
# Strict, here and below: YAML's `yes` is True, which Python takes for a 1.
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False, strict=True)]


def _retry(value: Any) -> Any:
    """Take `none` for no retry and a number for the attempts."""
    if value is None or value is False or value == "none":
        return {"attempts": 1}
    if isinstance(value, int) and value is not True:
        return {"attempts": value}
    if not isinstance(value, dict | Retry):
        raise ValueError("must be none, a number of starts, or attempts, backoff_s, backoff_max_s")  # noqa: TRY004  # pydantic collects ValueErrors only
    return value


def _rate(value: Any) -> Any:
    """Take "10/m" or "100/5m": so many starts in a period of s, m, h or d."""
    if value is None or isinstance(value, dict | Rate):
        return value
    if not isinstance(value, str) or not (found := _RATE.fullmatch(value.strip())):
        raise ValueError(_RATE_FORM)
    return {
        "starts": int(found[1]),
        "period_s": float(found[2] or 1) * _PERIODS_S[found[3]],
    }


class Retry(BaseModel):
    """How often a run may be started in all, and how long it waits before the next start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(1, ge=1, le=100, strict=True)
    backoff_s: Seconds = 1.0
    backoff_max_s: Seconds = 300.0

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.backoff_s > self.backoff_max_s:
            raise ValueError(
                f"backoff_s ({self.backoff_s:g}) must be at most "
                f"backoff_max_s ({self.backoff_max_s:g})"
            )
        return self

    def over(self, other: "Retry") -> "Retry":
        """Return the other policy, with what this one says itself in place of it.

        So `rate_limited: 5` in plugin.yaml changes the attempts and keeps the backoff.
        """
        said = {name: getattr(self, name) for name in self.model_fields_set}
        return other.model_copy(update=said)


class Rate(BaseModel):
    """At most `starts` starts in any `period_s` seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    starts: int = Field(ge=1, le=MOST_STARTS, strict=True)
    period_s: float = Field(gt=0, le=8_640_000, allow_inf_nan=False, strict=True)


class Limits(BaseModel):
    """How many runs of a plugin may run at a time, and start in a period, on all hosts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_concurrency: int | None = Field(None, ge=1, le=100_000, strict=True)
    rate: Annotated[Rate | None, BeforeValidator(_rate)] = None


Retries = dict[Cause, Annotated[Retry, BeforeValidator(_retry)]]


class Policies(BaseModel):
    """The part of plugin.yaml that says how runs are treated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    retry: Retries = {}
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _final_ones_stay_final(self) -> "Policies":
        refuse_final(self.retry)
        return self


def refuse_final(retries: Retries) -> None:
    """Raise ValueError for a retry of what no retry can mend."""
    for cause in ("invalid", "cancelled"):
        if cause in retries and retries[cause].attempts > 1:
            told = f"retry.{cause}: a run that was {cause} is never started again"
            raise disagreement(told, "retry", cause)


def disagreement(told: str, *place: str) -> PydanticCustomError:
    """Return a ValueError about keys that do not fit together, with the place of one of them."""
    return PydanticCustomError("disagreement", "{told}", {"told": told, "place": place})
