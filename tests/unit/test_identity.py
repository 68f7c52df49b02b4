"""Whom workers run as, and what a supervisor needs for it."""

from pathlib import Path

import pytest

from supervisor.errors import UserUnknown
from supervisor.pool.identity import NEEDED, identity_of, missing_capabilities


def test_a_user_is_named_or_numbered():
    named, numbered = identity_of("nobody"), identity_of("65534")

    assert named == numbered
    assert (named.uid, named.name) == (65534, "nobody")
    assert identity_of("") is None


def test_a_number_need_not_be_known_to_the_machine():
    unknown = identity_of("123456")

    assert (unknown.uid, unknown.gid, unknown.groups) == (123456, 123456, ())
    assert unknown.variables(Path("/x")) == {"USER": "123456", "LOGNAME": "123456", "HOME": "/x"}


@pytest.mark.parametrize("user", ["nobody-knows-them", "9" * 30, str(2**32 - 1), "no\0body", "-1"])
def test_others_are_unknown(user):
    with pytest.raises(UserUnknown):
        identity_of(user)


def test_what_root_lacks_in_a_container_is_named():
    assert missing_capabilities("CapInh:\t0\nCapEff:\t00000000a80425fb\n") == []
    assert missing_capabilities("CapEff:\t0000000000000000\n") == [f"CAP_{n}" for n in NEEDED]
    assert missing_capabilities("CapEff:\t00000000a80425db\n") == ["CAP_KILL"]
    assert missing_capabilities("") == [f"CAP_{n}" for n in NEEDED]
