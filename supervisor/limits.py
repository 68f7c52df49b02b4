"""The limits of all plugins, as take.lua wants them. Pure."""

import json

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
