"""Whether a run is started again, and when: pure, from its policy and the number of its starts.

Called where an end of a run is judged. What the plugin says of a cause comes first, then the
settings, then what crewpool thinks right (settings.py).
"""

from collections.abc import Callable

from supervisor.settings import Settings
from worker.policies import Cause, Policies, Retry

# A model that asks for more wants to be asked by a person.
LONGEST_RETRY_AFTER_S = 3600.0
# 2.0 ** 1024 is an error, and 64 doublings are above every backoff_max_s.
_MOST_DOUBLINGS = 64


def policy_for(plugin: Policies | None, settings: Settings, cause: Cause) -> Retry:
    """Return how often a run may start that this cause ended; None: its plugin is not known.

    A plugin that says only a part, the attempts say, keeps the rest of what the settings say.
    """
    ours = settings.retry_of(cause)
    own = plugin.retry.get(cause) if plugin else None
    return own.over(ours) if own else ours


def delay_s(
    retry: Retry, attempt: int, retry_after_s: float | None, random: Callable[[], float]
) -> float | None:
    """Return the wait before the next start; None when this one, the `attempt`-th, was the last.

    Exponential backoff with equal jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015): half of the backoff is certain, the other half is drawn. Full
    jitter spreads a little better, but may draw almost nothing, and a start that comes too
    early costs us a whole crew. Retry-After is a floor, and the drawn half comes on top of it:
    all that were refused together got the same one.

    >>> delay_s(Retry(attempts=3, backoff_s=4), 2, None, lambda: 0.5)
    6.0
    """
    if attempt >= retry.attempts:
        return None
    doublings = min(max(attempt - 1, 0), _MOST_DOUBLINGS)
    half = min(retry.backoff_s * 2.0**doublings, retry.backoff_max_s) / 2
    asked = min(retry_after_s, LONGEST_RETRY_AFTER_S) if retry_after_s else 0.0
    # In this order: a NaN, which is above nothing, is dropped.
    return max(half, asked) + random() * half
