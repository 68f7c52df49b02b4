"""What waits in the outbox is found, cancelled and followed by the usual commands."""

import json

import pytest

from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.settings import Settings
from tests.acceptance.conftest import NOWHERE
from tests.support.waiting import wait_until


@pytest.fixture
def records(crewpool):
    """The URL of records, and a run in their outbox with a credential."""
    url = f"sqlite:///{crewpool.folder}/runs.db"
    with Dispatcher.of(Settings(redis_url=NOWHERE, records_url=url)) as dispatcher:
        told = dispatcher.execute_plugin("echoes", 7, {"_key": "s3cret"}, Options(retries=0))
        assert told.what == "waiting"
        yield url, told.run_id, dispatcher.store


def test_a_run_whose_key_is_lost_is_found_and_cancelled(crewpool, records):
    url, run_id, _ = records
    (crewpool.folder / "runs.db.key").unlink()
    known = {"CREWPOOL_RECORDS_URL": url}
    listed = crewpool("runs", "list", "--state", "waiting", "--json", **known)
    cancelled = crewpool("cancel", run_id, **known)
    shown = crewpool("runs", "follow", run_id, **known)

    assert [run["run_id"] for run in json.loads(listed.stdout)] == [run_id]
    assert cancelled.returncode == 0, cancelled.stderr
    assert "waited to be published: cancelled" in cancelled.stdout
    assert (shown.returncode, "cancelled" in shown.stderr) == (1, True)


@pytest.mark.parametrize("redis", ["there", "away"])
def test_following_a_run_that_is_given_up_ends_with_the_reason(
    crewpool, redis_server, records, redis
):
    url, run_id, store = records
    where = redis_server.url if redis == "there" else NOWHERE
    following = crewpool.start(
        *("runs", "follow", run_id), REDIS_URL=where, CREWPOOL_RECORDS_URL=url
    )
    if redis == "there":
        wait_until(lambda: "xread" in {c["cmd"] for c in redis_server.client.client_list()}, 20)
    else:
        following.wait_for("Trying again")
    store.fail(run_id, "its request breaks the contract")

    assert following.wait_exit() == 1
    assert "its request breaks the contract" in following.err
