"""The benchmarks still run, with few rounds: what they measure here means nothing."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.linux import die_with_pytest
from tests.support.supervisors import PASSED_ON, ROOT

QUICK = {
    "kills": ("--rounds", "1", "--preload", "json"),
    "deaths": ("--supervisors", "1", "--zygotes", "1", "--preload", "json"),
    "footprint": ("--workers", "0", "--idle", "2", "--idle-s", "0.2"),
    "endurance": ("--runs", "40", "--workers", "2", "--samples", "2", "--rest-s", "0.1"),
    "pid_one": ("--rounds", "1"),
    "cost_of_a_run": ("--rounds", "20", "--backlog", "20"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_a_benchmark_prints_its_table_and_loses_no_run(name):
    if name == "pid_one" and (os.geteuid() != 0 or not shutil.which("unshare")):
        pytest.skip("a namespace needs root and unshare")
    ended = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", *QUICK[name]],
        env={variable: os.environ[variable] for variable in PASSED_ON if variable in os.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=die_with_pytest,
    )

    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) >= 2


def test_every_benchmark_is_run_here():
    # That on records wants a PostgreSQL of its own: make bench-records.
    helpers = {"stage", "tables", "records"}
    assert set(QUICK) == {file.stem for file in (ROOT / "benchmarks").glob("*.py")} - helpers
