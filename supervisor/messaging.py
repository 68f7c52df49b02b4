"""The block `[messaging]` of crewpool.toml, and the names that go with it.

An application configures its own end of the streams with such a block; it may be given to
crewpool as it is. Called by settings.py only, before the other settings are checked: what
the block says counts where nothing else does.
"""

import re
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

NAMES = {
    "plugin": {},
    "cortex": {
        "requests_stream": "cortex:tasks:normal",
        "results_stream": "cortex:results",
        "dead_letters_stream": "cortex:tasks:dlq",
        "messages_stream": "cortex:messages",
        "heartbeats_key": "cortex:heartbeats",
    },
}
"""Profiles of names: the defaults are the first one's."""
_HOST = r"\[[0-9A-Fa-f:.]+\]|[^\s:/@?#\[\]]+"
_ADDRESS = re.compile(rf"({_HOST}):(\d{{1,5}})")
# Go's time.ParseDuration, without signs.
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")


def _duration(value: Any) -> Any:
    """Take seconds, or a text of Go's: "10s", "1m30s", "500ms"."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(rf"(?:{_PART.pattern})+", value.strip()):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(value))
    raise ValueError("must be seconds, or a duration such as 10s, 1m30s or 500ms")


def _address(value: str) -> str:
    if not (found := _ADDRESS.fullmatch(value)) or not 0 < int(found[2]) < 65536:
        raise ValueError("must look like host:port, without redis:// and without a password")
    return value


def _must_be_on(value: bool) -> bool:  # noqa: FBT001  # pydantic calls it
    if not value:
        raise ValueError(
            "must be true: crewpool lives on Redis and does nothing without it; "
            "to switch it off, do not start it"
        )
    return value


On = Annotated[bool, AfterValidator(_must_be_on)]


class Messaging(BaseModel):
    """How the application reaches Redis. All of it is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: On = True
    use_redis: On = True
    redis_addr: Annotated[str, AfterValidator(_address)] = "127.0.0.1:6379"
    redis_password: SecretStr = SecretStr("")
    redis_db: int = Field(0, ge=0, le=65_535)
    heartbeat_interval: Annotated[
        float | None, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)
    ] = None

    def settings(self) -> dict[str, Any]:
        """Return the settings of ours that it stands for."""
        found: dict[str, Any] = {}
        if self.model_fields_set & {"redis_addr", "redis_password", "redis_db"}:
            password = quote(self.redis_password.get_secret_value(), safe="")
            login = f":{password}@" if password else ""
            found["redis_url"] = SecretStr(f"redis://{login}{self.redis_addr}/{self.redis_db}")
        if self.heartbeat_interval is not None:
            found["heartbeat_every_s"] = self.heartbeat_interval
        return found


def settings_of(block: Any) -> dict[str, Any]:
    """Return the settings that a block stands for; none when it is wrong, which is told later."""
    try:
        return Messaging.model_validate(block).settings() if block is not None else {}
    except ValidationError:
        return {}


def filled_in(given: dict[str, Any]) -> dict[str, Any]:
    """Return all that is set, with what follows from the profile of names and the block."""
    names = given.get("names")
    profile = NAMES.get(names, {}) if isinstance(names, str) else {}
    follows = {**profile, **settings_of(given.get("messaging"))}
    there = {name.lower() for name in given}
    return {**given, **{name: value for name, value in follows.items() if name not in there}}
