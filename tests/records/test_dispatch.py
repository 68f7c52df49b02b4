"""A run is recorded first and published second, and what cannot be published now waits."""

import pytest

from supervisor.runs import relay
from supervisor.runs.dispatch import Dispatcher, Options
from supervisor.runs.errors import (
    OutboxKeyMissing,
    RecordsAway,
    RecordsMisconfigured,
    RecordsNotConfigured,
    RunIdTaken,
)
from supervisor.runs.publisher import AddressInvalid, PublishFailed
from supervisor.runs.requests import PluginRequest, RequestInvalid
from supervisor.settings import Settings
from supervisor.streams.keys import Keys
from tests.records.conftest import SECRET, dispatcher_of
from tests.support.proxy import Proxy
from tests.support.redis_world import REQUESTS
from tests.support.servers import HOST, free_port
from tests.support.waiting import wait_until

AT_ONCE = Options(retries=0)


@pytest.fixture
def nowhere(url, key):
    """A dispatcher whose Redis is not there."""
    with dispatcher_of(url, f"redis://{HOST}:{free_port()}/0", **key) as made:
        yield made


def test_a_run_that_is_published_is_in_redis_and_in_its_record(dispatcher, world):
    told = dispatcher.execute_plugin("hello", 2**64 - 1, {"name": "Ada", "_key": SECRET})
    ((_, fields),) = world.entries()
    run = dispatcher.store.get(told.run_id)

    assert (told.what, told.status, told.because) == ("published", "pending", "")
    assert f'"plugin_run_id":"{told.run_id}"' in fields["payload"]
    assert SECRET in fields["payload"]
    assert run.input == {"name": "Ada", "_key": "***"}
    assert run.published_at is not None
    assert run.payload is None


def test_the_same_run_twice_within_half_an_hour_is_one(dispatcher, world):
    first = dispatcher.execute_plugin("hello", 7, {"name": "Ada", "_key": SECRET})
    again = dispatcher.execute_plugin("hello", 7, {"name": "Ada", "_key": "another"})
    other = dispatcher.execute_plugin("hello", 8, {"name": "Ada"})
    twice = dispatcher.execute_plugin("hello", 7, {"name": "Ada"}, Options(unique_for_s=None))

    assert (again.what, again.run_id) == ("unique", first.run_id)
    assert (other.what, twice.what) == ("published", "published")
    assert world.client.xlen(REQUESTS) == 3


def test_the_same_request_twice_is_published_once(dispatcher, world):
    request = PluginRequest("hello", 7, {"name": "Ada"})

    assert dispatcher.dispatch(request).what == "published"
    assert dispatcher.dispatch(request).what == "known"
    assert world.client.xlen(REQUESTS) == 1


def test_a_request_for_later_waits_in_redis_from_when_it_was_asked_for(dispatcher, world):
    request = PluginRequest("hello", 7, delay_s=3600, priority="low")
    told = dispatcher.dispatch(request)
    run = dispatcher.store.get(told.run_id)

    assert world.delayed()[told.run_id] / 1000 == pytest.approx(run.due_at.timestamp(), abs=0.01)
    assert world.client.xlen(f"{REQUESTS}:low") == 0
    assert (run.due_at - run.created_at).total_seconds() == 3600


@pytest.mark.parametrize(
    ("plugin", "user", "settings", "told"),
    [
        ("../x", 7, {}, "plugin_name"),
        ("hello", -1, {}, "user_id"),
        ("hello", 2**64, {}, "user_id"),
        ("hello", 7, {"x": float("nan")}, "as JSON"),
        ("hello", 7, {"x": "\ud800"}, "as JSON"),
        ("hello", 7, {"x": "y" * 2**20}, "at most"),
    ],
)
def test_a_request_that_breaks_the_contract_is_not_recorded(
    dispatcher, world, plugin, user, settings, told
):
    with pytest.raises(RequestInvalid, match=told):
        dispatcher.execute_plugin(plugin, user, settings)

    assert dispatcher.store.counts() == {"outbox": 0}
    assert world.client.keys("*") == []


def test_the_id_of_another_run_is_refused_and_nothing_is_published(dispatcher, world):
    dispatcher.dispatch(PluginRequest("hello", 7, plugin_run_id="r-1"))
    with pytest.raises(RunIdTaken):
        dispatcher.dispatch(PluginRequest("hello", 8, plugin_run_id="r-1"))

    assert world.client.xlen(REQUESTS) == 1


# ---- what a retry may mend


def test_while_redis_is_away_runs_are_accepted_and_wait(nowhere):
    first = nowhere.execute_plugin("hello", 7, {"n": 1}, AT_ONCE)
    second = nowhere.execute_plugin("hello", 7, {"n": 2}, AT_ONCE)
    run = nowhere.store.get(first.run_id)

    assert (first.what, first.status) == ("waiting", "pending")
    assert "is not reachable" in first.because
    assert second.because == "others wait before it"
    assert run.last_publish_error == first.because
    assert nowhere.store.counts() == {"pending": 2, "outbox": 2}


def test_a_call_tries_again_as_often_and_as_long_as_it_is_told(
    url, redis_server, world, key, monkeypatch
):
    tries = []
    monkeypatch.setattr(relay, "POLL_S", 60)  # its tries are not those of the call
    with Proxy(redis_server) as proxy, dispatcher_of(url, proxy.url, **key) as dispatcher:
        publisher = dispatcher._publisher
        place = publisher.place

        def counting(request):
            tries.append(request)
            if len(tries) == 3:
                proxy.mend()
            return place(request)

        publisher.place = counting
        proxy.cut()
        assert dispatcher.execute_plugin("hello", 7).what == "published"
        assert len(tries) == 3
        proxy.cut()
        tries.clear()
        options = Options(retries=100, timeout_s=0)
        assert dispatcher.execute_plugin("hello", 8, options=options).what == "waiting"

    assert len([request for request in tries if request.user_id == 8]) == 1
    assert world.client.xlen(REQUESTS) == 1


@pytest.mark.parametrize("trouble", ["memory", "full"])
def test_a_redis_that_has_no_room_now_is_no_error(url, redis_server, world, trouble, key):
    settings = {"max_waiting": 1} if trouble == "full" else {}
    with dispatcher_of(url, redis_server.url, **key, **settings) as dispatcher:
        dispatcher.execute_plugin("hello", 1)
        if trouble == "memory":
            redis_server.client.config_set("maxmemory", 1)
        told = dispatcher.execute_plugin("hello", 2, options=AT_ONCE)
        assert told.what == "waiting"

        redis_server.client.config_set("maxmemory", 0)
        redis_server.client.xtrim(REQUESTS, maxlen=0)
        wait_until(lambda: dispatcher.store.get(told.run_id).published_at, 15)
    assert world.client.xlen(REQUESTS) == 1


def test_what_waits_is_published_in_order_when_redis_is_back(url, redis_server, world, key):
    with Proxy(redis_server) as proxy, dispatcher_of(url, proxy.url, **key) as dispatcher:
        proxy.cut()
        ids = [
            dispatcher.execute_plugin("hello", n, {"_key": SECRET}, AT_ONCE).run_id
            for n in range(5)
        ]
        proxy.mend()
        wait_until(lambda: dispatcher.store.counts()["outbox"] == 0, 15)

    payloads = [fields["payload"] for _, fields in world.entries()]
    assert len(payloads) == 5
    assert all(run_id in payload for run_id, payload in zip(ids, payloads, strict=True))
    assert all(SECRET in payload for payload in payloads)


def test_a_lost_reply_makes_no_second_entry(url, redis_server, world, key):
    with Proxy(redis_server) as proxy, dispatcher_of(url, proxy.url, **key) as dispatcher:
        proxy.lose_reply_to("evalsha", times=2)
        assert dispatcher.execute_plugin("hello", 7).what == "published"

    assert world.client.xlen(REQUESTS) == 1


# ---- what no retry mends


def test_a_redis_that_refuses_us_fails_the_record_and_the_call(dispatcher, world):
    world.client.set(Keys.of(Settings()).waiting, "not a hash")
    request = PluginRequest("hello", 7)
    with pytest.raises(PublishFailed, match="a retry cannot help") as raised:
        dispatcher.dispatch(request)
    run = dispatcher.store.get(request.plugin_run_id)

    assert not raised.value.is_retryable
    assert (run.status, run.error_message) == ("failed", str(raised.value))
    assert (run.payload, run.published_at) == (None, None)
    assert dispatcher.dispatch(request).status == "failed"


def test_an_address_of_redis_that_is_none_fails_the_record_and_the_call(url, key):
    with dispatcher_of(url, "redis://127.0.0.1:x/0", **key) as dispatcher:
        request = PluginRequest("hello", 7)
        with pytest.raises(AddressInvalid):
            dispatcher.dispatch(request)

        run = dispatcher.store.get(request.plugin_run_id)
        assert run.status == "failed"
        assert "no address of Redis" in run.error_message


def test_credentials_without_a_key_are_refused_and_nothing_is_written(database, url, redis_server):
    if database == "sqlite":
        pytest.skip("a file has a key beside it")
    with dispatcher_of(url, redis_server.url) as dispatcher:
        with pytest.raises(OutboxKeyMissing):
            dispatcher.execute_plugin("hello", 7, {"_key": SECRET})
        assert dispatcher.store.counts() == {"outbox": 0}
        assert dispatcher.execute_plugin("hello", 7).what == "published"


def test_no_database_is_told_at_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecordsNotConfigured):
        Dispatcher.of(Settings())
    with pytest.raises(RecordsMisconfigured):
        Dispatcher.of(Settings(records_url="sqlite:///:memory:"))
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_away_is_an_error_and_nothing_is_published(redis_server, world):
    url = f"postgresql://u:p@{HOST}:{free_port()}/db"
    told = pytest.raises(RecordsAway)
    with dispatcher_of(url, redis_server.url) as dispatcher, told as raised:
        dispatcher.execute_plugin("hello", 7)

    assert raised.value.is_retryable
    assert world.client.keys("*") == []
