"""Finds plugins and checks what they say of themselves. No plugin code is imported here.

A plugin is a folder: plugin.yaml, settings.schema.json, crew/crew.py. The supervisor uses
this to answer unknown names and to know timeouts; the zygote to know what to import; the
worker to check the settings of a run against the schema (there, because a hostile pattern
or a huge list may take long, and only a worker can be killed for it).
"""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from jsonschema import Draft202012Validator, SchemaError
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from worker.errors import PluginBroken, PluginNotFound, SettingsInvalid
from worker.files import read_text
from worker.policies import Policies, disagreement
from worker.problems import all_that_is_wrong, line_of
from worker.redact import without_credentials
from worker.sizes import Size, text_of

READ = ("plugin.yaml", "settings.schema.json", "crew/crew.py")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
MOST_PROBLEMS = 5
# A second for PyYAML, while which nothing else is done.
MOST_YAML_BYTES = 65_536


def _no_truth(value: Any) -> Any:
    """Refuse YAML's `yes`: it would be taken for one second."""
    if isinstance(value, bool):
        raise ValueError("must be a number of seconds, such as 300")  # noqa: TRY004  # pydantic collects ValueErrors only
    return value


def _not_ours(name: str) -> str:
    """Refuse what no crew may see, and what is no name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise ValueError("must be the name of a variable (no pattern, no value)")
    if name.upper().startswith(("REDIS", "CREWPOOL_")):
        raise ValueError("no crew ever sees variables of Redis or crewpool")
    return name


Variable = Annotated[str, AfterValidator(_not_ours)]


class Manifest(Policies):
    """What plugin.yaml may say. Unknown keys are refused: they are mostly misspelt ones."""

    name: str
    description: str = ""
    version: str = ""
    timeout_s: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_truth)
    ] = None
    grace_s: Annotated[
        float, Field(ge=0, le=300, allow_inf_nan=False), BeforeValidator(_no_truth)
    ] = 0.0
    memory_soft: Size | None = None
    memory_hard: Size | None = None
    env: tuple[Variable, ...] = Field((), max_length=100)

    @model_validator(mode="after")
    def _soft_below_hard(self) -> "Manifest":
        if self.memory_soft and self.memory_hard and self.memory_soft > self.memory_hard:
            told = (
                f"memory_soft ({text_of(self.memory_soft)}) must be at most "
                f"memory_hard ({text_of(self.memory_hard)})"
            )
            raise disagreement(told, "memory_soft")
        return self


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found and checked. `path` is its folder, absolute; `stamp` changes
    with the files that were read.
    """

    name: str
    path: Path
    manifest: Manifest
    schema: Mapping[str, Any]
    stamp: tuple[int, ...] = field(default=(), compare=False)

    @property
    def crew_file(self) -> Path:
        """The file that defines `create_crew(settings)`."""
        return self.path / "crew" / "crew.py"


@dataclass(frozen=True)
class Catalogue:
    """All plugins of a folder: those that can be used, and why the others cannot.

    `floor_bytes` is what a worker has before its first run, 0 while nobody knows: a plugin
    that allows less is broken.
    """

    plugins: dict[str, Plugin] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)
    floor_bytes: int = field(default=0, compare=False)

    def find(self, name: str) -> Plugin:
        """Return the plugin of that name. Raises PluginNotFound or PluginBroken.

        One that came, or was mended, since the folder was read is read now: a run must not
        be lost because its plugin is newer than we are.
        """
        if name in self.plugins:
            return self.plugins[name]
        if self.folder is None or not NAME.fullmatch(name) or not (self.folder / name).is_dir():
            raise PluginNotFound(name, sorted(self.plugins))
        self.plugins[name] = load(self.folder / name, self.floor_bytes)
        self.broken.pop(name, None)
        return self.plugins[name]


def discover(folder: Path, floor_bytes: int = 0, before: Catalogue | None = None) -> Catalogue:
    """Read every plugin of a folder. One that is broken does not hide the others.

    What `before` knows and nobody has touched since is not read again: some milliseconds a
    plugin, for which a supervisor has no time.
    """
    known = before.plugins if before else {}
    found: dict[str, Plugin] = {}
    broken: dict[str, str] = {}
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if not path.is_dir() or path.name.startswith((".", "__")):
            continue
        try:
            found[path.name] = _same(known.get(path.name), path, floor_bytes) or load(
                path, floor_bytes
            )
        except PluginBroken as error:
            broken[path.name] = error.reason
    return Catalogue(found, broken, folder, floor_bytes)


def load(path: Path, floor_bytes: int = 0) -> Plugin:
    """Read and check one plugin's folder. Raises PluginBroken with the line to mend."""
    name = path.name
    if not NAME.fullmatch(name):
        raise PluginBroken(name, f"the folder's name must match {NAME.pattern}")
    # Before the files are read: what changes in between is read again the next time.
    stamp = _stamp(path)
    plugin = Plugin(name, path.resolve(), _manifest(path, floor_bytes), _schema(path), stamp)
    if not plugin.crew_file.is_file():
        raise PluginBroken(name, "crew/crew.py is missing")
    return plugin


def _same(known: Plugin | None, path: Path, floor_bytes: int) -> Plugin | None:
    if known is None or not known.stamp or known.stamp != _stamp(path):
        return None
    limits = (known.manifest.memory_soft, known.manifest.memory_hard)
    return None if any(limit and limit < floor_bytes for limit in limits) else known


def _stamp(path: Path) -> tuple[int, ...]:
    """Return inode, size and time of the files that load() looks at; () where one is missing."""
    try:
        found = [(path / name).stat() for name in READ]
    except OSError:
        return ()
    return tuple(part for one in found for part in (one.st_ino, one.st_size, one.st_mtime_ns))


def check_settings(plugin: Plugin, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with the schema's defaults; credentials pass through unchecked.

    Raises SettingsInvalid with up to five problems, none of which quotes a value: a value
    may be a secret in the wrong place.
    """
    visible = without_credentials(settings)
    for key, part in plugin.schema.get("properties", {}).items():
        if isinstance(part, Mapping) and "default" in part:
            visible.setdefault(key, copy.deepcopy(part["default"]))
    problems: list[str] = []
    for error in Draft202012Validator(plugin.schema).iter_errors(visible):
        where = "/".join(str(step)[:40] for step in error.absolute_path) or "settings"
        problems.append(f"{where}: {_what_is_wrong(error)}")
        if len(problems) == MOST_PROBLEMS:
            break
    if problems:
        raise SettingsInvalid(plugin.name, problems)
    return {**{k: v for k, v in settings.items() if k.startswith("_")}, **visible}


def _what_is_wrong(error: Any) -> str:
    """Say the rule that was broken, not the value that broke it."""
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{', '.join(missing)} is required"
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        allowed = ", ".join(known) or "none"
        unknown = [str(key)[:40] for key in error.instance if key not in known]
        return f"unknown key {', '.join(unknown[:3])} (allowed: {allowed})"
    if error.validator == "type":
        return f"must be of type {error.validator_value}"
    if error.validator == "enum":
        return f"must be one of {', '.join(map(str, error.validator_value))}"[:200]
    rule = json.dumps(error.validator_value, default=str)
    return f"must satisfy {error.validator}: {rule[:200]}"


def _manifest(path: Path, floor_bytes: int) -> Manifest:
    text, data = _yaml(path)
    try:
        manifest = Manifest.model_validate(data)
        _check(manifest, path.name, floor_bytes)
    except ValidationError as error:
        told = all_that_is_wrong(error, text, tuple(Manifest.model_fields))
        raise PluginBroken(path.name, f"plugin.yaml: {told}") from None
    except PydanticCustomError as error:
        place = (error.context or {})["place"]
        told = f"plugin.yaml: line {line_of(text, place)}: {error.message()}"
        raise PluginBroken(path.name, told) from None
    return manifest


def _check(manifest: Manifest, folder: str, floor_bytes: int) -> None:
    """Raise PydanticCustomError for what does not fit to things outside the file."""
    if manifest.name != folder:
        told = f"says name: {manifest.name!r}, and the folder is called {folder}: make it the same"
        raise disagreement(told, "name")
    for key in ("memory_hard", "memory_soft"):
        limit_bytes = getattr(manifest, key)
        if limit_bytes is not None and limit_bytes < floor_bytes:
            told = (
                f"{key} ({text_of(limit_bytes)}) is below the {text_of(floor_bytes)} that a worker "
                f"has before its first run: allow more, or leave it out"
            )
            raise disagreement(told, key)


def _yaml(path: Path) -> tuple[str, dict[Any, Any]]:
    """Return plugin.yaml as it stands there, and what it holds."""
    try:
        text = read_text(path / "plugin.yaml", MOST_YAML_BYTES)
        data = yaml.safe_load(text)
    except FileNotFoundError:
        raise PluginBroken(path.name, "plugin.yaml is missing") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        told = getattr(error, "problem", None) or "it is no YAML"
        raise PluginBroken(path.name, f"plugin.yaml cannot be read{where}: {told}") from None
    except Exception as error:  # noqa: BLE001  # PyYAML lets the errors of its parts through
        # ValueError for 2024-13-01, AttributeError for !!timestamp x, RecursionError for [[[…
        told = f"{type(error).__name__}: {error}"[:300]
        raise PluginBroken(path.name, f"plugin.yaml cannot be read: {told}") from None
    if not isinstance(data, dict):
        raise PluginBroken(path.name, "plugin.yaml must hold keys and values (name: …)")
    return text, data


def _schema(path: Path) -> Mapping[str, Any]:
    try:
        schema = json.loads(read_text(path / "settings.schema.json"))
        Draft202012Validator.check_schema(schema)
    except FileNotFoundError:
        raise PluginBroken(path.name, "settings.schema.json is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PluginBroken(path.name, f"settings.schema.json cannot be read: {error}") from None
    except SchemaError as error:
        reason = f"settings.schema.json is no valid schema: {error.json_path}: {error.message}"
        raise PluginBroken(path.name, reason) from None
    if not isinstance(schema, dict) or not isinstance(schema.get("properties", {}), dict):
        raise PluginBroken(path.name, "settings.schema.json must be an object with properties")
    return schema
