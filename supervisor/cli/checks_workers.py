"""The doctor's look at what workers may see: the secrets of all, and those of one plugin.

Called by doctor.py. It changes nothing, and tells no value.
"""

from collections.abc import Mapping

from supervisor.cli import preflight
from supervisor.cli.findings import Finding, problem, warning
from supervisor.errors import SecretUnreadable
from supervisor.pool import secret_files
from supervisor.settings import Settings
from worker.plugins import Plugin, discover


def of_workers(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Look at the variables and files that crews are to see."""
    return [*_secrets(settings), *_of_plugins(settings, environ)]


def _secrets(settings: Settings) -> list[Finding]:
    trouble = preflight.secrets_trouble(settings)
    return [problem("secrets", *trouble)] if trouble else []


def _of_plugins(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    if preflight.plugin_dir_trouble(settings):
        return []
    plugins = discover(settings.plugin_dir).plugins.values()
    return [found for plugin in plugins for found in _of_plugin(plugin, environ)]


def _of_plugin(plugin: Plugin, environ: Mapping[str, str]) -> list[Finding]:
    """Tell what the plugin names in its `env:` and would not get."""
    found = []
    for name in plugin.manifest.env:
        try:
            if secret_files.value_of(name, environ) is None:
                told = f"{plugin.name} wants {name}, which is not set: its crew starts without"
                cure = f"set {name}, or {name}_FILE to the path of a file that holds it"
                found.append(warning("secrets", told, cure))
        except SecretUnreadable as error:
            cure = "mount it, and let this user read it; until then its runs fail"
            found.append(problem("secrets", f"{plugin.name}: {error}", cure))
    return found
