"""The limits of plugins: how many runs at a time, as take.lua wants it, and how much memory.

Pure.
"""

import json

from supervisor.pool.overuse import MemoryLimits
from supervisor.worker_settings import WorkerSettings
from worker.plugins import Catalogue


def limits_text(catalogue: Catalogue) -> str:
    """Return the JSON text of the plugins that have limits.

    plugin → {"c": most at a time, "n": most starts in "p" milliseconds}; what is not limited
    is left out.
    """
    limited = {}
    for name, plugin in catalogue.plugins.items():
        limits = plugin.manifest.limits
        facts: dict[str, int] = {}
        if limits.max_concurrency is not None:
            facts["c"] = limits.max_concurrency
        if limits.rate is not None:
            facts |= {"n": limits.rate.starts, "p": max(1, round(limits.rate.period_s * 1000))}
        if facts:
            limited[name] = facts
    return json.dumps(limited, separators=(",", ":"))


def memory_limits(catalogue: Catalogue, settings: WorkerSettings, plugin: str) -> MemoryLimits:
    """Return what a run of this plugin may have: what plugin.yaml says, else the settings."""
    found = catalogue.plugins.get(plugin)
    soft, hard = (found.manifest.memory_soft, found.manifest.memory_hard) if found else (None, None)
    return MemoryLimits(soft or settings.memory_soft, hard or settings.memory_hard)
