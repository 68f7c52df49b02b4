"""The table that every benchmark prints: what was measured, n, p50, p99 and the largest."""

import statistics
from collections.abc import Sequence

_NAME = 52


def header(unit: str) -> str:
    """Return the line above the rows; `unit` is that of all values in them."""
    return f"{unit:<{_NAME}} {'n':>6} {'p50':>9} {'p99':>9} {'max':>9}"


def row(name: str, values: Sequence[float], digits: int = 1) -> str:
    """Return one line: n, p50, p99 and the largest value. Without a value it says so."""
    if not values:
        return f"{name:<{_NAME}} {0:>6} {'-':>9} {'-':>9} {'-':>9}"
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    told = (statistics.median(ordered), p99, ordered[-1])
    return f"{name:<{_NAME}} {len(ordered):>6} " + " ".join(f"{v:>9.{digits}f}" for v in told)


def drift(values: Sequence[float]) -> float:
    """Return by how many percent the last value is above the first."""
    return 100.0 * (values[-1] - values[0]) / values[0] if values[0] else 0.0
