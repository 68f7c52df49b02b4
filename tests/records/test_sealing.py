"""Credentials stand nowhere in plain, and are opened by their key only."""

import pytest

from supervisor.runs.errors import OutboxKeyMissing, OutboxKeyThere, OutboxKeyUnfit
from supervisor.runs.outbox import NewRun, request_of
from supervisor.runs.requests import PluginRequest
from supervisor.runs.sealing import Sealer, make_key
from tests.records.conftest import MOST_BYTES, SECRET
from tests.support.threads import at_once

SETTINGS = {"name": "Ada", "_llm_api_key": SECRET, "deep": [{"_token": SECRET}]}


def test_no_credential_can_be_read_in_the_database(store, add, tmp_path, database, request):
    run = add(settings=SETTINGS).run
    store.note_failure(run.plugin_run_id, "away")
    if database == "sqlite":
        written = b"".join(file.read_bytes() for file in tmp_path.glob("runs.db*"))
        assert SECRET.encode() not in written
        assert b"Ada" in written
    else:
        connected = request.getfixturevalue("postgres").connected
        with connected(request.getfixturevalue("url")) as connection:
            ((row,),) = connection.execute("SELECT plugin_runs::text FROM plugin_runs").fetchall()
        assert SECRET not in row
        assert "Ada" in row


def test_the_request_comes_out_as_it_went_in(store, add, sealer):
    run = add(settings=SETTINGS, priority="low", at=4e9, unique_for_s=60).run
    (waiting,) = store.unpublished(1)
    request = request_of(waiting, sealer)

    assert request.settings == SETTINGS
    assert (request.plugin_run_id, request.priority) == (run.plugin_run_id, "low")
    assert request.at == 4e9
    # Whether it may run was decided when it was recorded.
    assert request.unique_for_s is None


def test_with_the_publication_what_was_sealed_is_gone(store, added):
    run_id = added(settings=SETTINGS)
    store.mark_published([run_id])

    assert store.get(run_id).payload is None


def test_a_run_without_credentials_needs_no_key(store):
    request = PluginRequest("hello", 7, {"name": "Ada"})
    store.add(NewRun.of(request, None, MOST_BYTES))
    (waiting,) = store.unpublished(1)

    assert request_of(waiting, None).settings == {"name": "Ada"}


def test_a_run_with_credentials_is_refused_without_a_key(store):
    with pytest.raises(OutboxKeyMissing, match="no key to seal") as raised:
        NewRun.of(PluginRequest("hello", 7, SETTINGS), None, MOST_BYTES)

    assert "crewpool db key" in raised.value.next_step
    assert SECRET not in str(raised.value)


def test_another_key_opens_nothing(store, added, tmp_path):
    added(settings=SETTINGS)
    (waiting,) = store.unpublished(1)
    other = Sealer.of(tmp_path / "other.key")

    for sealer in (other, None):
        with pytest.raises(OutboxKeyUnfit) as raised:
            request_of(waiting, sealer)
        assert not raised.value.is_retryable


def test_a_new_key_is_put_above_the_old_one(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    make_key(old)
    make_key(new)
    both = tmp_path / "both"
    both.write_text(new.read_text() + old.read_text())

    sealed = Sealer(old).sealed(SECRET)
    assert Sealer(both).opened(sealed) == SECRET
    assert Sealer(new).opened(Sealer(both).sealed(SECRET)) == SECRET


def test_of_many_that_make_the_key_all_use_the_same(tmp_path):
    path = tmp_path / "runs.db.key"
    sealers = at_once(*[lambda: Sealer.of(path)] * 8)

    sealed = sealers[0].sealed(SECRET)
    assert {sealer.opened(sealed) for sealer in sealers} == {SECRET}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["runs.db.key"]


def test_a_key_that_is_there_is_not_written_over(tmp_path):
    path = tmp_path / "key"
    make_key(path)
    before = path.read_bytes()

    with pytest.raises(OutboxKeyThere, match="left as it is"):
        make_key(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no key\n", b"\xff\xfe", b"a" * 100_000])
def test_a_file_that_holds_no_key_is_told_without_its_content(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)

    with pytest.raises(OutboxKeyUnfit, match="cannot be used") as raised:
        Sealer(path)
    assert "aaaa" not in str(raised.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(OutboxKeyUnfit, match="No such file"):
        Sealer(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxKeyUnfit, match="Not a directory|File exists"):
        make_key(tmp_path / "file" / "key")
