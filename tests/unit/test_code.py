"""The hash of a plugin's files: what changes it, and what does not."""

import os

import pytest

from tests.support.plugins import write_plugin
from worker.code import MOST_BYTES, MOST_FILES, code_hash, files_of


@pytest.fixture
def plugin(tmp_path):
    return write_plugin(tmp_path / "here", "digest", "x = 1") / "digest"


def test_it_is_short_and_the_same_for_the_same_files_anywhere(plugin, tmp_path):
    elsewhere = write_plugin(tmp_path / "there", "digest", "x = 1") / "digest"
    os.utime(elsewhere / "plugin.yaml", (0, 0))

    assert len(code_hash(plugin)) == 12
    assert code_hash(elsewhere) == code_hash(plugin)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("crew/crew.py", "x = 2"),
        ("crew/more.py", ""),
        ("plugin.yaml", "name: digest\ntimeout_s: 5\n"),
        ("settings.schema.json", "{}"),
        ("crew/config/tasks.yml", "a: b"),
    ],
)
def test_a_file_that_changes_or_comes_changes_it(plugin, file, text):
    before = code_hash(plugin)
    (plugin / file).parent.mkdir(exist_ok=True)
    (plugin / file).write_text(text)

    assert code_hash(plugin) != before


def test_a_text_that_moves_to_another_name_changes_it(plugin):
    before = code_hash(plugin)
    (plugin / "crew" / "crew.py").rename(plugin / "crew" / "crow.py")

    assert code_hash(plugin) != before


@pytest.mark.parametrize(
    "file", ["crew/__pycache__/crew.cpython-311.py", ".git/a.py", "crew/.hidden.py", "notes.txt"]
)
def test_what_is_no_code_does_not_change_it(plugin, file):
    before = code_hash(plugin)
    (plugin / file).parent.mkdir(exist_ok=True)
    (plugin / file).write_text("x = 3")

    assert code_hash(plugin) == before


def test_links_are_followed_as_in_a_mounted_config_map_and_circles_end(plugin):
    data = plugin / "..data"
    data.mkdir()
    (plugin / "crew").rename(data / "crew")
    before = code_hash(plugin)
    (plugin / "crew").symlink_to("..data/crew")
    (plugin / "crew" / "round").symlink_to(plugin)
    (plugin / "nowhere.py").symlink_to("not-there")

    assert code_hash(plugin) != before
    assert "crew/crew.py" in dict(files_of(plugin))


def test_what_is_no_file_or_cannot_be_read_neither_hangs_nor_breaks_it(plugin):
    before = code_hash(plugin)
    os.mkfifo(plugin / "pipe.py")

    assert code_hash(plugin) == before
    assert code_hash(plugin / "not-there")


def test_there_is_an_end_to_what_is_read(plugin):
    with (plugin / "large.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    before = code_hash(plugin)
    for number in range(MOST_FILES):
        (plugin / f"{number}.py").touch()

    assert code_hash(plugin) != before
    assert len(list(files_of(plugin))) == MOST_FILES
