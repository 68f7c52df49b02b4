"""What is wrong in a plugin.yaml is told with its line, and with what may stand there."""

import pytest

from tests.support.plugins import write_plugin
from worker.errors import PluginBroken
from worker.plugins import discover, load
from worker.problems import line_of

MIB = 2**20


def told_of(tmp_path, text, floor_bytes=0):
    path = write_plugin(tmp_path, "digest", "x = 1") / "digest"
    (path / "plugin.yaml").write_text(text)
    with pytest.raises(PluginBroken) as told:
        load(path, floor_bytes)
    return told.value.reason


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("timeout_s: 5m", "timeout_s: must be a number of seconds, such as 300"),
        ("timeout_s: yes", "timeout_s: must be a number of seconds, such as 300"),
        ("timeout_s: -1", "timeout_s: must be greater than 0"),
        ("grace_s: [1]", "grace_s: must be a number of seconds, such as 300"),
        ("grace_s: 301", "grace_s: must be at most 300"),
        ("memory_hard: 10 potatoes", "memory_hard: must be a size such as 600MB, 512MiB or 1.5GiB"),
        ("memory_hard: -5", "memory_hard: must be greater than 0"),
        ("memory_hard: yes", "memory_hard: must be a size such as"),
        ("memory-hard: 1GB", "unknown key memory-hard, did you mean memory_hard?"),
        ("env: TOKEN", "env: must be a list"),
        ("env: [MY TOKEN]", "env.0: must be the name of a variable"),
        ("env: [REDIS_URL]", "env.0: no crew ever sees variables of Redis or crewpool"),
        ("limits: {rate: 10/x}", "limits.rate: must look like 10/m or 100/5m"),
        ("retry: {invalid: 3}", "retry.invalid: a run that was invalid is never started again"),
        ("retry: {crash: {backoff_s: 1h}}", "retry.crash.backoff_s: must be a number of seconds"),
    ],
)
def test_each_problem_has_its_line_and_its_cure(tmp_path, line, told):
    reason = told_of(tmp_path, f"# a plugin\nname: digest\n\n{line}\nversion: '1'\n")

    assert reason.startswith(f"plugin.yaml: line 4: {told}")


def test_a_key_further_in_has_the_line_on_which_it_stands(tmp_path):
    text = """\
name: digest
retry:
  crash:
    attempts: 2
    backof_s: 5
limits:
  max_concurrency: 0
env:
  - GOOD
  - 1BAD
"""
    reason = told_of(tmp_path, text)

    assert "line 5: unknown key retry.crash.backof_s, did you mean backoff_s?" in reason
    assert "line 7: limits.max_concurrency: must be at least 1" in reason
    assert "line 10: env.1: must be the name of a variable" in reason
    assert reason.index("line 5") < reason.index("line 7") < reason.index("line 10")


def test_limits_that_do_not_fit_together_are_told_with_both(tmp_path):
    reason = told_of(tmp_path, "name: digest\nmemory_soft: 2GiB\nmemory_hard: 1GiB\n")

    told = "line 2: memory_soft (2.0 GiB) must be at most memory_hard (1.0 GiB)"
    assert reason == f"plugin.yaml: {told}"


def test_a_name_that_is_not_the_folders_is_told_with_its_line(tmp_path):
    reason = told_of(tmp_path, "version: '1'\nname: another\n")

    assert reason.startswith("plugin.yaml: line 2: says name: 'another'")


def test_a_name_that_is_missing_is_told(tmp_path):
    assert told_of(tmp_path, "version: '1'\n") == "plugin.yaml: line 1: name: is missing"


@pytest.mark.parametrize("key", ["memory_hard", "memory_soft"])
def test_a_limit_below_what_a_fresh_worker_has_is_refused(tmp_path, key):
    reason = told_of(tmp_path, f"name: digest\n{key}: 100MiB\n", floor_bytes=260 * MIB)

    assert reason == (
        f"plugin.yaml: line 2: {key} (100.0 MiB) is below the 260.0 MiB that a worker has before "
        "its first run: allow more, or leave it out"
    )
    assert discover(tmp_path).broken == {}
    assert discover(tmp_path, 260 * MIB).broken == {"digest": reason}


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("a: 1\nb: {c: [1,\n 2]}", ("b", "c", 1), 3),
        ("a: 1\nb: 2\n", ("b", "not", "there"), 2),
        ("a: 1\n", ("b",), 1),
        ("\n\na: 1\na: 2\n", ("a",), 4),
        ("7: x\n", (7,), 1),
        ("a: &x {b: 1}\nc: *x\n", ("c", "b"), 1),
    ],
)
def test_the_line_of_a_key_or_of_what_is_round_it(text, place, line):
    assert line_of(text, place) == line
