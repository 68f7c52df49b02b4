"""The watch on the plugin folder: what it notices, and that it waits until all is there."""

import os

import pytest

from supervisor import watching
from supervisor.watching import fingerprint
from tests.support.plugins import write_plugin


@pytest.fixture
def folder(tmp_path):
    return write_plugin(tmp_path, "digest", "x = 1")


def test_it_notices_a_change_of_the_same_length_in_the_same_second(folder):
    file = folder / "digest" / "crew" / "crew.py"
    before = fingerprint(folder)
    file.write_text("x = 2")
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))

    assert fingerprint(folder) != before


def test_it_notices_a_plugin_that_comes_and_one_that_goes(folder):
    before = fingerprint(folder)
    write_plugin(folder, "another", "x = 1")
    with_another = fingerprint(folder)
    (folder / "another").rename(folder / ".another")

    assert with_another != before
    assert fingerprint(folder) == before


def test_what_is_no_plugin_and_what_is_no_code_is_not_noticed(folder):
    before = fingerprint(folder)
    (folder / "README.md").write_text("x")
    (folder / "digest" / "crew" / "__pycache__").mkdir()
    (folder / "digest" / "notes.txt").write_text("x")

    assert fingerprint(folder) == before


def test_a_folder_that_is_gone_is_a_change_and_no_error(folder):
    before = fingerprint(folder)

    assert fingerprint(folder / "nowhere") != before


@pytest.mark.parametrize(
    ("looks", "calls_after"),
    [
        ("aaaa", []),
        ("abbb", [3]),
        ("abcdd", [5]),
        ("aabbccc", [4, 6]),
        ("abab", []),
        ("abaa", []),
    ],
    ids=["nothing", "once", "while it is written", "twice", "not yet quiet", "taken back"],
)
async def test_it_calls_once_for_what_changed_when_two_looks_were_the_same(
    monkeypatch, tmp_path, looks, calls_after
):
    seen, calls = [], []

    def look(_folder):
        if len(seen) == len(looks):
            raise EOFError
        seen.append(looks[len(seen)])
        return seen[-1]

    monkeypatch.setattr(watching, "fingerprint", look)

    with pytest.raises(EOFError):
        await watching.watch_for_ever(tmp_path, lambda: calls.append(len(seen)), every_s=0)

    assert calls == calls_after
