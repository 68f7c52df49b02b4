"""The user that workers run as, when it is not the supervisor's own.

Asked at the start. It changes nothing: the kernel switches when the zygote is started.
"""

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from supervisor.errors import UserUnknown

# What a supervisor needs of root, by the kernel's numbers: to become that user, to give it
# its folder and take it away again, and to end its processes.
NEEDED = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7}


class Switch(TypedDict, total=False):
    """Arguments of subprocess.Popen."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """A user with its groups; `home` is "" when it has none that exists."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    def of_process(self) -> "Switch":
        """Return what makes subprocess start a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": self.groups}

    def variables(self, folder: Path) -> dict[str, str]:
        """Return what says in an environment who one is; `folder` is for who has no home."""
        return {"USER": self.name, "LOGNAME": self.name, "HOME": self.home or str(folder)}


def identity_of(user: str) -> Identity | None:
    """Return the user of that name or number, None for "". Raises UserUnknown."""
    if not user:
        return None
    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError, ValueError):
        if user.isdecimal() and int(user) < 2**32 - 1:
            # In a container a number often is all there is.
            return Identity(user, int(user), int(user), (), "")
        raise UserUnknown(user) from None
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    home = found.pw_dir if Path(found.pw_dir).is_dir() else ""
    return Identity(found.pw_name, found.pw_uid, found.pw_gid, groups, home)


def missing_capabilities(status: str) -> list[str]:
    """Return what we lack to run workers as another user, by the text of /proc/self/status."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    effective = int(found[1], 16) if found else 0
    return [f"CAP_{name}" for name, bit in NEEDED.items() if not effective >> bit & 1]
