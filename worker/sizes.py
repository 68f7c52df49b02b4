"""Sizes as people write them: 600MB, 1.5GiB, or a plain number of bytes. No I/O."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*([a-zA-Z]{0,3})", re.ASCII)
_FORM = "must be a size such as 600MB, 512MiB or 1.5GiB, or a whole number of bytes"


def bytes_of(value: Any) -> Any:
    """Return the number of bytes that is meant. Raises ValueError for what is no size.

    >>> bytes_of("512MiB"), bytes_of("1.5 GB"), bytes_of(4096)
    (536870912, 1500000000, 4096)
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError(_FORM)
    return int(float(found[1]) * _UNITS[found[2].lower()])


def text_of(size_bytes: float) -> str:
    """Return a size to be read by people.

    >>> text_of(536870912), text_of(900)
    ('512.0 MiB', '900 B')
    """
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes:.0f} B"


# In bytes; `le` because the kernel's counters are signed.
Size = Annotated[int, BeforeValidator(bytes_of), Field(gt=0, le=2**50)]
