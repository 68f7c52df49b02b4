"""What waits in the outbox is found, cancelled and followed by the usual commands."""

import json

import pytest

from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.settings import Settings
from tests.acceptance.conftest import NOWHERE


@pytest.fixture
def records(crewpool):
    """The URL of records, and a run in their outbox with a credential."""
    url = f"sqlite:///{crewpool.folder}/runs.db"
    with Dispatcher.of(Settings(redis_url=NOWHERE, records_url=url)) as dispatcher:
        told = dispatcher.execute_plugin("echoes", 7, {"_key": "s3cret"}, Options(retries=0))
        assert told.what == "waiting"
        yield url, told.run_id, dispatcher.store


def test_a_run_whose_key_is_lost_is_found_and_cancelled(crewpool, records):
    url, run_id, store = records
    (crewpool.folder / "runs.db.key").unlink()
    listed = crewpool("runs", "list", "--state", "waiting", "--json", CREWPOOL_RECORDS_URL=url)
    cancelled = crewpool("cancel", run_id, CREWPOOL_RECORDS_URL=url)

    assert [run["run_id"] for run in json.loads(listed.stdout)] == [run_id]
    assert cancelled.returncode == 0, cancelled.stderr
    assert "waited to be published: cancelled" in cancelled.stdout
    assert store.get(run_id).error_message == "cancelled"


def test_following_a_run_that_is_given_up_while_redis_is_away_ends_with_the_reason(
    crewpool, records
):
    url, run_id, store = records
    following = crewpool.start("runs", "follow", run_id, CREWPOOL_RECORDS_URL=url)
    following.wait_for("Trying again")
    store.fail(run_id, "its request breaks the contract")

    assert following.wait_exit() == 1
    assert "its request breaks the contract" in following.err


@pytest.mark.parametrize("is_there", [True, False], ids=["redis", "no-redis"])
def test_a_run_in_the_outbox_is_explained(crewpool, records, redis_server, is_there):
    url, run_id, _ = records
    environment = {"CREWPOOL_RECORDS_URL": url}
    if is_there:
        environment["REDIS_URL"] = redis_server.url
    told = crewpool("explain", run_id, **environment)

    assert told.returncode == 0, told.stderr
    assert f"Run {run_id} waits in the outbox of {url} since" in told.stdout
    assert "is not reachable" in told.stdout
    assert "publish it again later" not in told.stdout
    assert "crewpool results consume publishes it" in told.stdout


def test_a_run_that_redis_forgot_is_explained_by_its_record(crewpool, records, redis_server):
    url, run_id, store = records
    store.fail(run_id, "its request breaks the contract")
    environment = {"CREWPOOL_RECORDS_URL": url, "REDIS_URL": redis_server.url}
    told = json.loads(crewpool("explain", run_id, "--json", **environment).stdout)

    assert told["place"] == "ended"
    assert "(failed: its request breaks the contract)" in told["sentences"][0]
