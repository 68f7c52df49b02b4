"""A run that is cancelled does not run, wherever it is on its way from the outbox to Redis."""

import pytest

from supervisor.errors import RedisAway
from supervisor.runs.dispatch import Options
from supervisor.runs.errors import RecordsAway
from supervisor.runs.outbox import request_of
from supervisor.runs.publisher import Publisher
from supervisor.runs.relay import LEASE, LEASE_S, Relay
from supervisor.runs.store import RunStore
from supervisor.streams.wire import Result
from tests.records.conftest import SECRET
from tests.support.cancelling import NOWHERE, Scene
from tests.support.redis_world import REQUESTS
from tests.support.servers import HOST, free_port
from tests.support.waiting import wait_until


@pytest.fixture
def scene(redis_server, world, store, sealer):
    """A relay at its work."""
    scene = Scene(redis_server.url, world, store)
    with Publisher(redis_server.url) as scene.publisher:
        scene.relay = Relay(store, scene.publisher, sealer, grace_s=0)
        yield scene


@pytest.fixture
def dispatching(redis_server, world, dispatcher):
    """A dispatcher at its work."""
    scene = Scene(redis_server.url, world, dispatcher.store)
    scene.publisher = dispatcher._publisher
    return scene


def around(publisher, before=None, after=None):
    """Let something happen before or after the next publication."""
    place = publisher.place

    def placing(request):
        publisher.place = place
        if before:
            before(request.plugin_run_id)
        placed = place(request)
        if after:
            after(request.plugin_run_id)
        return placed

    publisher.place = placing


def test_a_run_that_waits_is_never_published(scene, added):
    run_id = added(settings={"_key": SECRET}, unique_for_s=60)
    assert scene.cancel(run_id) == "waiting"
    assert scene.cancel(run_id) == "ended"

    assert scene.relay.relay_once().published == 0
    assert scene.world.client.xlen(REQUESTS) == 0
    scene.assert_cancelled(run_id)
    assert added(settings={"_key": SECRET}, unique_for_s=60) != run_id


@pytest.mark.parametrize("delay_s", [0, 60], ids=["queued", "delayed"])
def test_after_a_cancel_the_same_may_be_asked_for_at_once(scene, added, delay_s):
    """Before anybody has taken in the result of the one that was cancelled."""
    run_id = added(unique_for_s=60, delay_s=delay_s)
    assert scene.relay.relay_once().published == 1
    assert scene.cancel(run_id) == ("delayed" if delay_s else "queued")

    assert added(unique_for_s=60, delay_s=delay_s) != run_id
    (result,) = scene.world.results(run_id)
    assert (
        scene.store.apply_result(Result(run_id, result["status"], "", "cancelled")) == "duplicate"
    )
    assert scene.store.get(run_id).error_message == "cancelled"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancel_while_a_relay_publishes_keeps_the_run_from_running(scene, added, when):
    run_id, told = added(), []
    around(scene.publisher, **{when: lambda run_id: told.append(scene.cancel(run_id))})
    scene.relay.relay_once()

    assert told == ["waiting" if when == "before" else "queued"]
    scene.assert_cancelled(run_id)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancel_that_died_behind_the_record_is_made_known_by_the_relay(scene, added, when):
    run_id = added()
    around(scene.publisher, **{when: scene.store.cancel})
    done = scene.relay.relay_once()

    assert (done.published, done.cancelled) == (1, 1)
    scene.assert_cancelled(run_id)


@pytest.mark.parametrize("was", ["waiting", "published"])
def test_a_cancel_while_redis_is_away_is_remembered_by_the_outbox(scene, added, sealer, was):
    run_id = added(settings={"_key": SECRET})
    if was == "published":  # by a relay that died before it noted it
        scene.publisher.place(request_of(scene.store.unpublished(1)[0], sealer))
    assert [scene.cancel_without_redis(run_id) for _ in range(2)] == ["waiting"] * 2
    assert (scene.store.get(run_id).status, scene.store.counts()["outbox"]) == ("failed", 1)

    done = scene.relay.relay_once()
    assert (done.published, done.cancelled, done.has_moved) == (0, 1, True)
    scene.assert_cancelled(run_id)


def test_a_redis_that_goes_away_before_it_hears_of_a_cancel_hears_of_it_later(scene, added):
    run_id, hear = added(), scene.publisher.cancel

    def away(run_id):
        raise RedisAway("here", run_id)

    around(scene.publisher, before=scene.store.cancel)
    scene.publisher.cancel = away
    done = scene.relay.relay_once()
    assert (done.published, done.cancelled) == (1, 0)
    assert "is not reachable" in done.trouble
    assert "is not reachable" in scene.relay.relay_once().trouble

    scene.publisher.cancel = hear
    assert scene.relay.relay_once().cancelled == 1
    scene.assert_cancelled(run_id)


def test_a_relay_that_was_frozen_does_not_publish_what_was_cancelled_meanwhile(scene, added, clock):
    def meanwhile(run_id):
        assert scene.cancel_without_redis(run_id) == "waiting"
        clock.go_on(LEASE_S)
        assert scene.relay.relay_once().cancelled == 1

    run_id = added()
    around(scene.publisher, before=meanwhile)
    scene.relay.relay_once()

    assert scene.world.client.xlen(REQUESTS) == 0
    scene.assert_cancelled(run_id)


def test_of_one_that_runs_already_its_supervisor_hears_and_its_result_counts(scene, added):
    run_id, store = added(), scene.store
    around(scene.publisher, after=lambda _: scene.take() or store.cancel(run_id))
    assert scene.relay.relay_once().cancelled == 1

    ((_, order),) = scene.world.client.xrange("crewpool:messages:all")
    assert order == {"kind": "cancel", "run": run_id}
    assert scene.cancel(run_id) == "running"
    assert store.apply_result(Result(run_id, "completed", "{}")) == "applied"
    assert store.get(run_id).status == "completed"


@pytest.mark.parametrize("by", ["cancel", "cancel_without_redis"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cancel_while_a_dispatcher_publishes_keeps_the_run_from_running(
    dispatching, dispatcher, when, by
):
    # The dispatcher's own relay could tell Redis of the cancel first.
    assert dispatcher.store.leases.take(LEASE, "another", LEASE_S)
    around(dispatching.publisher, **{when: getattr(dispatching, by)})
    told = dispatcher.execute_plugin("hello", 7)

    assert told.what == ("known" if (by, when) == ("cancel", "before") else "published")
    assert told.status == "failed"
    wait_until(lambda: dispatcher.store.counts()["outbox"] == 0)
    dispatching.assert_cancelled(told.run_id)
    assert dispatcher.execute_plugin("hello", 7).run_id != told.run_id


def test_a_cancel_between_two_tries_of_a_dispatcher_counts(dispatching, dispatcher):
    place = dispatching.publisher.place

    def failing(request):
        dispatching.cancel_without_redis(request.plugin_run_id)
        dispatching.publisher.place = place
        with Publisher(NOWHERE) as nowhere:
            return nowhere.place(request)

    dispatching.publisher.place = failing
    told = dispatcher.execute_plugin("hello", 7, options=Options(retries=1))

    assert told.status == "failed"
    wait_until(lambda: dispatcher.store.counts()["outbox"] == 0)
    dispatching.assert_cancelled(told.run_id)


def test_a_cancel_that_redis_refuses_to_one_relay_waits_for_another(scene, added, redis_server):
    run_id, other = added(), added()
    scene.cancel_without_redis(run_id)
    redis_server.client.acl_setuser(
        "weak",
        enabled=True,
        passwords=["+pw"],
        categories=["+@connection"],
        commands=["+xadd"],
        keys=["*"],
    )
    try:
        with Publisher(scene.url.replace("redis://", "redis://weak:pw@")) as weak:
            done = Relay(scene.store, weak, grace_s=0).relay_once()
    finally:
        redis_server.client.acl_deluser("weak")
    assert (done.published, done.cancelled, done.skipped, done.trouble) == (1, 0, 1, "")
    assert "no permissions" in done.because
    assert scene.store.get(other).published_at

    assert scene.relay.relay_once().cancelled == 1
    scene.take()
    assert len(scene.world.pending()) == 1
    assert scene.world.result(run_id)["error"] == "cancelled"


def test_behind_a_cancelled_run_nothing_waits(store, added, add):
    run_id = added()
    store.note_failure(run_id, "away")
    assert add().run.publish_failures == 1
    for run in store.unpublished(9):
        store.cancel(run.plugin_run_id)

    assert add().run.publish_failures == 0
    assert add(plugin_run_id=run_id).what == "known"


def test_a_run_of_which_redis_knows_nothing_any_more_ends(scene, added):
    run_id = added()
    scene.store.mark_published([run_id])

    assert scene.cancel(run_id) == "waiting"
    scene.assert_cancelled(run_id)


def test_what_the_records_do_not_know_is_cancelled_in_redis(scene):
    scene.world.publish("r-1")

    assert scene.cancel("r-1") == "queued"
    assert scene.cancel("r-2") == "unknown"


def test_a_run_that_one_relay_gave_up_while_another_published_it_does_not_run(scene, added):
    run_id = added()
    around(scene.publisher, after=lambda run_id: scene.store.fail(run_id, "refused"))
    scene.relay.relay_once()

    scene.take()
    assert not scene.world.pending()
    assert scene.store.get(run_id).status == "failed"


def test_a_database_that_is_away_keeps_nobody_from_cancelling_what_redis_knows(redis_server, world):
    away = RunStore(f"postgresql://u:p@{HOST}:{free_port()}/db")
    scene = Scene(redis_server.url, world, away)
    world.publish("r-1")

    assert scene.cancel("r-1") == "queued"
    with pytest.raises(RecordsAway):
        scene.cancel("r-2")
