"""Memory in huge pages: the same bytes, and copied by small pages when a fork writes to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker import huge_pages

FACTS = """
import json, mmap, os, re
from worker import huge_pages

area = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
told = bytes(range(256)) * (len(area) // 256)
area[:] = told

def all_of(name):
    text = open("/proc/self/smaps_rollup").read()
    return int(re.search(rf"{name}:\\s+(\\d+) kB", text)[1])

huge_pages.use()
facts = {"huge_kb": all_of("AnonHugePages"), "is_same": area[:] == told}
huge_pages.use()
read, write = os.pipe()
if os.fork() == 0:
    before = all_of("Private_Dirty")
    for place in range(0, len(area), 1 << 20):
        area[place] = 1
    facts["copied_kb"] = all_of("Private_Dirty") - before
    os.write(write, json.dumps(facts).encode())
    os._exit(0)
os.wait()
print(os.read(read, 4096).decode())
"""


@pytest.fixture(scope="module")
def facts():
    ended = subprocess.run(
        [sys.executable, "-c", FACTS], capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(ended.stdout)


def test_all_is_there_as_before(facts):
    assert facts["is_same"]


def test_what_a_fork_writes_to_is_copied_by_small_pages(facts):
    # Eight of them, and what the interpreter itself writes to meanwhile.
    assert facts["copied_kb"] < 1024


def test_memory_is_in_huge_pages_where_the_kernel_can(facts):
    major, minor = map(int, os.uname().release.split(".")[:2])
    if (major, minor) < (6, 1) or not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this kernel cannot")
    assert facts["huge_kb"] >= 6 * 1024


@pytest.mark.parametrize("text", ["", "none\n"])
def test_a_kernel_without_huge_pages_is_none_to_fail_on(tmp_path, monkeypatch, text):
    monkeypatch.setattr(huge_pages, "_SIZE", tmp_path / "size")
    huge_pages.use()
    (tmp_path / "size").write_text(text)
    huge_pages.use()
