"""How long to wait before starting again, and when starting again cannot help.

Pure functions of the number of failures in a row.
"""

FIRST_S = 1.0
LONGEST_S = 30.0
GIVE_UP_AFTER = 5


def delay_s(failures: int) -> float:
    """Return the wait before the next start: none, then 1, 2, 4, … up to 30 s.

    >>> [delay_s(n) for n in (0, 1, 2, 3, 9)]
    [0.0, 1.0, 2.0, 4.0, 30.0]
    """
    if failures <= 0:
        return 0.0
    return min(FIRST_S * 2.0 ** min(failures - 1, 10), LONGEST_S)


def is_hopeless(failures: int) -> bool:
    """Tell whether to give up: it failed so often, and never once worked in between."""
    return failures >= GIVE_UP_AFTER
