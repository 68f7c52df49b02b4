"""Reading the plugin folder again: what is read, and what is known already."""

from tests.support.plugins import write_plugin
from worker.plugins import discover


def test_what_nobody_touched_is_not_read_again(tmp_path):
    for name in ("same", "touched", "small"):
        write_plugin(tmp_path, name, "x = 1", manifest="memory_hard: 1GiB")
    before = discover(tmp_path)
    (tmp_path / "touched" / "plugin.yaml").write_text("name: touched\ntimeout_s: 5\n")
    (tmp_path / "small" / "crew" / "crew.py").unlink()
    write_plugin(tmp_path, "new", "x = 1")

    after = discover(tmp_path, 0, before)

    assert after.plugins["same"] is before.plugins["same"]
    assert after.plugins["touched"].manifest.timeout_s == 5
    assert after.broken == {"small": "crew/crew.py is missing"}
    assert set(after.plugins) == {"same", "touched", "new"}


def test_what_nobody_touched_is_broken_when_workers_have_grown(tmp_path):
    write_plugin(tmp_path, "small", "x = 1", manifest="memory_hard: 100MiB")
    before = discover(tmp_path)

    assert "is below the 200.0 MiB" in discover(tmp_path, 200 * 2**20, before).broken["small"]
