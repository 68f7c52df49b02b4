"""Reads the settings where they are: the edge where bad ones become one clear error.

Environment over TOML file over defaults. Read once at start. The settings themselves, with
their checks, stand in settings.py.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import to_json
from pydantic_settings import SettingsError

from supervisor.addresses import without_password
from supervisor.errors import SettingsWrong
from supervisor.messaging import NAMES, settings_of
from supervisor.settings import FIXED_NAMES, Settings
from supervisor.worker_settings import WorkerSettings
from worker.problems import rule, what_is_wrong

# All that is JSON in the environment says something by cause.
JSON_EXAMPLE = '{"exception": 2}'


@dataclass(frozen=True)
class Origin:
    """Where a value came from, for `crewpool config show`. Secrets are hidden in `value`."""

    name: str
    variable: str
    value: str
    origin: str


def variable_of(field: str) -> str:
    """Return the environment variable that sets a field."""
    return FIXED_NAMES.get(field, f"CREWPOOL_{field.upper()}")


def load(**overrides: Any) -> Settings:
    """Read and check all settings. Raises SettingsWrong with every problem at once."""
    problems = _contradictions(_read_file())
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += [_problem(e) for e in error.errors(include_input=False)]
    except SettingsError as error:
        # A variable that should hold JSON and does not. The text names the field, no value.
        named = re.search(r'field "(\w+)"', str(error))
        where = variable_of(named[1]) if named else str(error)
        problems.append(f"{where}: must be JSON, such as {JSON_EXAMPLE}")
    else:
        if not problems:
            return settings
    raise SettingsWrong(problems)


def origins(settings: Settings) -> list[Origin]:
    """Return each value with its origin: environment, file or default."""
    file = {key.lower(): value for key, value in _read_file().items()}
    in_file = {*file, *settings_of(file.get("messaging"))}
    set_in_env = {key.upper() for key, value in os.environ.items() if value}
    rows = []
    for field in _in_order():
        variable = variable_of(field)
        origin = "names" if field in NAMES[settings.names] else "default"
        if field in in_file or variable.lower() in in_file:
            origin = str(Settings.file())
        if variable in set_in_env:
            origin = "environment"
        rows.append(Origin(field, variable, _shown(getattr(settings, field)), origin))
    return rows


def _in_order() -> list[str]:
    """Return all fields, those first that everybody sets."""
    ours = [field for field in Settings.model_fields if field not in WorkerSettings.model_fields]
    first = ours.index("crew_timeout_s") + 1
    return [*ours[:first], *WorkerSettings.model_fields, *ours[first:]]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return CREWPOOL_* variables that nothing reads: mostly misspelt ones.

    Kubernetes sets CREWPOOL_SERVICE_… and CREWPOOL_PORT… for a Service of our name, so this
    is a hint and no error.
    """
    known = {variable_of(field) for field in Settings.model_fields}
    known |= {"CREWPOOL_CONFIG", "CREWPOOL_OFFLINE_MODEL_URL", "CREWPOOL_TREE"}
    injected = re.compile(r"CREWPOOL_(SERVICE|PORT)(_|$)")
    return sorted(
        name
        for name in environ
        if name.startswith("CREWPOOL_") and name not in known and not injected.match(name)
    )


def _read_file() -> dict[str, Any]:
    path = Settings.file()
    if "CREWPOOL_CONFIG" in os.environ and not path.is_file():
        raise SettingsWrong([f"CREWPOOL_CONFIG names {path}, which is no file"])
    try:
        return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsWrong([f"{path} cannot be read: {error}"]) from None


def _problem(error: Any) -> str:
    where = str(error["loc"][0]).lower() if error["loc"] else ""
    if where == "messaging":
        where = ".".join(map(str, error["loc"]))
        return f"{where} (in {Settings.file()}): {_told(error)}"
    if where == "retry":
        return f"{variable_of(where)}: {what_is_wrong(error, ())}"
    field = next((f for f, v in FIXED_NAMES.items() if where in (f, v.lower())), where)
    if error["type"] == "extra_forbidden":
        return f"{field} (in {Settings.file()}): no such setting"
    told = _told(error)
    if field in Settings.model_fields and error["type"] != "value_error":
        meaning = Settings.model_fields[field].description
        told = f"{told} ({meaning})" if meaning else told
    return f"{variable_of(field)}: {told}" if field else told


def _told(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "no such setting"
    return rule(error)


def _contradictions(file: Mapping[str, Any]) -> list[str]:
    """Return what the file says twice: in the block of the application, and in our words."""
    ours = {key.lower() for key in file}
    return [
        f"{field} and [messaging] both stand in {Settings.file()}: keep one of them"
        for field in settings_of(file.get("messaging"))
        if field in ours
    ]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_unset=True)
    if isinstance(value, SecretStr):
        return without_password(value.get_secret_value())
    if isinstance(value, dict):
        return to_json(value).decode()
    return " ".join(value) if isinstance(value, tuple) else str(value)
