"""The tables are those of models.py, come up from nothing, and are never guessed at."""

import os
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from supervisor.runs import migrations, schema
from supervisor.runs.engine import engine_of
from supervisor.runs.errors import RecordsAway, RecordsMisconfigured, RecordsOutdated
from supervisor.runs.models import Base
from supervisor.runs.store import RunStore
from tests.support.servers import HOST, free_port
from tests.support.threads import at_once


@pytest.fixture
def empty(empty_url):
    """An engine on a database without tables."""
    engine = engine_of(empty_url)
    yield engine
    engine.dispose()


def test_the_migrations_make_what_the_models_say(empty):
    schema.upgrade(empty)
    with empty.connect() as connection:
        options = {"compare_type": True, "version_table": migrations.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)

        assert compare_metadata(context, Base.metadata) == []


def test_the_version_is_that_of_the_last_migration():
    folder = migrations.__path__[0]

    assert ScriptDirectory(folder).get_heads() == [migrations.HEAD]


def test_an_upgrade_is_done_once(empty):
    assert schema.upgrade(empty) == ("", migrations.HEAD)
    assert schema.upgrade(empty) == (migrations.HEAD, migrations.HEAD)


def test_half_an_upgrade_is_none(empty):
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE crewpool_leases (other INTEGER)"))

    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(empty)

    assert schema.revision(empty) == ""
    with empty.begin() as connection:
        connection.execute(text("DROP TABLE crewpool_leases"))
    assert schema.upgrade(empty) == ("", migrations.HEAD)


def test_of_several_that_upgrade_at_once_one_does(empty_url):
    def upgrade():
        with RunStore(empty_url) as store:
            return store.upgrade()[1], store.counts()

    assert at_once(*[upgrade] * 4) == [(migrations.HEAD, {"outbox": 0})] * 4


def test_a_file_is_seen_only_with_its_write_ahead_log_and_the_first_one_stays(
    tmp_path, monkeypatch
):
    path, link = tmp_path / "runs.db", os.link

    def link_late(made, place):
        # At 18 stands how a SQLite file is written: 2 is with a write-ahead log.
        assert Path(made).read_bytes()[18] == 2
        link(made, place)
        first = path.stat().st_ino
        with pytest.raises(FileExistsError):
            link(made, place)
        assert path.stat().st_ino == first
        raise FileExistsError

    monkeypatch.setattr(os, "link", link_late)
    with RunStore(f"sqlite:///{path}") as store:
        assert store.counts() == {"outbox": 0}
        assert path.stat().st_mode & 0o777 == 0o600
        assert not list(tmp_path.glob(".runs.db.*"))


def test_a_file_is_made_when_it_is_used_and_a_server_is_left_as_it_is(empty_url, database):
    with RunStore(empty_url) as store:
        if database == "sqlite":
            assert store.counts() == {"outbox": 0}
        else:
            with pytest.raises(RecordsOutdated, match="are empty") as raised:
                store.counts()
            assert raised.value.next_step == "crewpool db upgrade"
            store.upgrade()
            assert store.counts() == {"outbox": 0}


def test_tables_of_a_later_crewpool_are_left_alone(empty):
    schema.upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE crewpool_version SET version_num = '9999'"))

    for look in (schema.ensure, schema.upgrade):
        with pytest.raises(RecordsOutdated, match="9999.*knows no later than") as raised:
            look(empty)
        assert raised.value.next_step == "install a newer crewpool"


def test_tables_of_the_application_do_not_matter(empty):
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('ab12')"))

    assert schema.upgrade(empty) == ("", migrations.HEAD)


# ---- addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no url",
        "mysql://u:pw-secret@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:pw-secret@host:port/db",
    ],
)
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(RecordsMisconfigured) as raised:
        RunStore(url)

    assert "pw-secret" not in str(raised.value)
    assert not raised.value.is_retryable


def test_a_server_that_is_away_is_an_error_that_a_retry_may_mend():
    with RunStore(f"postgres://u:pw-secret@{HOST}:{free_port()}/db") as store:
        with pytest.raises(RecordsAway, match="refused") as raised:
            store.get("r-1")
        assert "pw-secret" not in str(raised.value) + store.where

    assert raised.value.is_retryable


def test_a_password_that_is_wrong_is_told_without_it(postgres):
    url = f"postgresql://crewpool:pw-secret@{HOST}:{postgres.port}/postgres"
    told = pytest.raises(RecordsAway, match="password authentication failed")
    with RunStore(url) as store, told as raised:
        store.get("r-1")

    assert "pw-secret" not in str(raised.value)


def test_a_file_where_none_can_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    told = pytest.raises(RecordsAway, match="File exists")
    with RunStore(f"sqlite:///{tmp_path}/file/runs.db") as store, told:
        store.counts()


def test_a_file_of_something_else_is_told_and_left_alone(tmp_path):
    file = tmp_path / "runs.db"
    file.write_text("this is no database, and longer than the head of one would be" * 20)
    before = file.read_bytes()
    told = pytest.raises(RecordsMisconfigured, match="not a database")
    with RunStore(f"sqlite:///{file}") as store, told:
        store.counts()

    assert file.read_bytes() == before


def test_a_file_is_for_its_owner_only(tmp_path):
    with RunStore(f"sqlite:///{tmp_path}/deeper/runs.db") as store:
        store.counts()
        modes = [file.stat().st_mode & 0o777 for file in (tmp_path / "deeper").iterdir()]

    # The database, its log and its index.
    assert modes == [0o600] * 3
