"""`crewpool db`, and what is said without the extra that records need."""

import os
import subprocess
import sys

import pytest

from supervisor.runs.migrations import HEAD
from supervisor.runs.sealing import Sealer
from supervisor.runs.store import RunStore
from tests.support.postgres import PASSWORD
from tests.support.servers import HOST, free_port
from tests.support.supervisors import PASSED_ON, ROOT

# What `pip install crewpool` alone does not bring.
WITHOUT = """
import sys
for name in ("sqlalchemy", "alembic", "psycopg", "cryptography"):
    sys.modules[name] = None
"""


@pytest.fixture
def crewpool(tmp_path):
    """Run the command; return (exit code, stdout, stderr)."""

    def run(*words, before="", **environment):
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        code = f"{before}\nfrom supervisor.cli import main\nmain()"
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env={**env, "PYTHONPATH": str(ROOT), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_tables_are_made_and_are_there_afterwards(crewpool, empty_url):
    code, said, _ = crewpool("db", "upgrade", CREWPOOL_RECORDS_URL=empty_url)

    assert code == 0
    assert f"was at no version, and is at {HEAD}" in said
    assert PASSWORD not in said
    with RunStore(empty_url) as store:
        assert store.counts() == {"outbox": 0}


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("", 2, "No database is named"),
        ("postgresql://u:pw-secret@h:x/db", 2, "cannot be read as a URL"),
        (f"postgresql://u:pw-secret@{HOST}:{free_port()}/db", 1, "not reachable"),
    ],
    ids=["none", "port", "silent"],
)
def test_a_database_that_cannot_be_used_is_told_with_what_to_do(crewpool, url, code, told):
    ended, said, talk = crewpool("db", "upgrade", CREWPOOL_RECORDS_URL=url)

    assert (ended, said) == (code, "")
    assert told in talk
    assert "Next: " in talk
    assert "pw-secret" not in talk


def test_a_key_is_made_once(crewpool, tmp_path):
    assert crewpool("db", "key", "outbox.key")[0] == 0
    assert Sealer(tmp_path / "outbox.key").sealed("text")
    code, _, talk = crewpool("db", "key", "outbox.key")

    assert code == 1
    assert "left as it is" in talk


def test_without_the_extra_a_sentence_says_what_to_install(crewpool):
    url = "sqlite:///runs.db"
    code, said, talk = crewpool("db", "upgrade", before=WITHOUT, CREWPOOL_RECORDS_URL=url)

    assert (code, said) == (2, "")
    assert "need the extra `records`" in talk
    assert "pip install 'crewpool[records]'" in talk
    assert "Traceback" not in talk


def test_without_the_extra_an_application_is_told_too():
    code = f"""{WITHOUT}
from supervisor.runs.dispatch import execute_plugin
from supervisor.runs.errors import RecordsNotInstalled
from supervisor.runs.publisher import Publisher
try:
    execute_plugin("hello", 7)
except RecordsNotInstalled as error:
    print(error.next_step, error.is_retryable)
"""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    env["CREWPOOL_RECORDS_URL"] = "sqlite:///runs.db"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )

    assert done.stdout == "pip install 'crewpool[records]' False\n"
