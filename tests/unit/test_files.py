"""Files of plugins are read without waiting and without end, whatever stands in their place."""

import os

import pytest

from tests.support.plugins import write_plugin
from worker.files import MOST_BYTES, read_text
from worker.plugins import discover


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def large(path):
    path.write_bytes(b" " * (MOST_BYTES + 1))


def a_folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [pipe, endless, large, a_folder])
@pytest.mark.parametrize("name", ["plugin.yaml", "settings.schema.json"])
@pytest.mark.timeout(10)
def test_a_plugin_whose_file_is_none_is_broken_and_the_others_serve_on(tmp_path, make, name):
    for plugin in ("whole", "odd"):
        write_plugin(tmp_path, plugin, "pass")
    (tmp_path / "odd" / name).unlink()
    make(tmp_path / "odd" / name)

    catalogue = discover(tmp_path)

    assert list(catalogue.plugins) == ["whole"]
    assert list(catalogue.broken) == ["odd"]
    assert name in catalogue.broken["odd"]


def test_a_link_to_a_file_is_read_as_a_mounted_configmap_has_them(tmp_path):
    (tmp_path / "there").write_text("é", "utf-8")
    (tmp_path / "here").symlink_to("there")

    assert read_text(tmp_path / "here") == "é"
