"""Threads share a dispatcher, a fork has one of its own, and what the documents show works."""

import os
import re
import signal
import subprocess
import sys
from functools import partial

import pytest

from supervisor.runs.store import RunStore
from tests.support.redis_world import REQUESTS
from tests.support.supervisors import PASSED_ON, ROOT
from tests.support.threads import at_once

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_threads_share_a_dispatcher(dispatcher, world):
    def dispatch(user):
        return {dispatcher.execute_plugin("hello", user, {"n": n}).what for n in range(10)}

    assert at_once(*[partial(dispatch, user) for user in range(6)]) == [{"published"}] * 6
    assert world.client.xlen(REQUESTS) == 60
    assert dispatcher.store.counts() == {"pending": 60, "outbox": 0}


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_fork_of_the_application_dispatches_for_itself(dispatcher, world):
    dispatcher.execute_plugin("hello", 1)
    if (child := os.fork()) == 0:
        signal.alarm(60)
        try:
            told = dispatcher.execute_plugin("hello", 2)
            os._exit(0 if told.what == "published" and dispatcher._thread.is_alive() else 2)
        finally:
            os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    dispatcher.execute_plugin("hello", 3)
    assert dispatcher.store.counts() == {"pending": 3, "outbox": 0}
    assert world.client.xlen(REQUESTS) == 3


def test_a_dispatcher_that_was_closed_starts_anew(dispatcher, world):
    dispatcher.execute_plugin("hello", 1)
    dispatcher.close()
    dispatcher.close()

    assert dispatcher.execute_plugin("hello", 2).what == "published"


def test_the_examples_of_the_documents_are_run(tmp_path, redis_server, world):
    page = (ROOT / "docs" / "integrate.md").read_text("utf-8")
    section = page.partition("\n## Python\n")[2].partition("\n## ")[0]
    first, second = PYTHON.findall(section)
    url = f"sqlite:///{tmp_path}/runs.db"
    env = {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "REDIS_URL": redis_server.url,
        "CREWPOOL_RECORDS_URL": url,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"{first}\n{second}"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    with RunStore(url) as store:
        assert store.counts() == {"pending": 2, "outbox": 0}
        run_ids = [run.plugin_run_id for run in store.list().runs]
    assert done.stdout.split() == ["published", run_ids[1], "published", "pending"]
    assert world.client.xlen(REQUESTS) == 1
    assert list(world.delayed()) == [run_ids[0]]
