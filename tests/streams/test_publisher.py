"""The publisher of applications, with and without asyncio, on real servers."""

import os
import threading
import time

import pytest

from supervisor.runs.publisher import AddressInvalid, AsyncPublisher, Publisher, PublishFailed
from supervisor.runs.requests import PluginRequest, RequestInvalid
from supervisor.settings import Settings
from supervisor.streams.keys import Keys
from tests.support.proxy import Proxy
from tests.support.redis_world import REQUESTS

BACKENDS = ("redis-resp2", "valkey-resp3")
SECRET = "sk-secret-of-a-user"


def a_request(**facts):
    return PluginRequest(**{"plugin_name": "hello", "user_id": 7, **facts})


@pytest.fixture
def publisher(url):
    with Publisher(url) as ours:
        yield ours


async def test_a_run_published_with_asyncio_stands_on_its_stream(url, world):
    request = a_request(settings={"text": "ü<"})
    async with AsyncPublisher(url) as publisher:
        entry_id = await publisher.publish(request)

    ((found, fields),) = world.client.xrange(REQUESTS)
    assert found == entry_id
    assert fields["schema_version"] == "v1"
    assert f'"plugin_run_id":"{request.plugin_run_id}"' in fields["payload"]
    assert '"settings":{"text":"ü\\u003c"}' in fields["payload"]
    assert abs(time.time() - int(fields["published_at"])) < 10


def test_a_run_published_without_asyncio_too(publisher, world):
    entry_id = publisher.publish(a_request(priority="high"))

    assert [found for found, _ in world.client.xrange(f"{REQUESTS}:high")] == [entry_id]


def test_the_same_run_is_added_once(publisher, world):
    request = a_request()

    assert publisher.publish(request)
    assert publisher.publish(request) == ""
    assert publisher.place(request).what == "known"
    assert world.client.xlen(REQUESTS) == 1


def test_a_run_for_later_waits(publisher, world):
    placed = publisher.place(a_request(delay_s=3600))

    assert placed.what == "delayed"
    assert placed.due_at == pytest.approx(time.time() + 3600, abs=20)
    assert world.client.xlen(REQUESTS) == 0


def test_threads_share_a_publisher(publisher, world):
    def publish():
        for _ in range(20):
            publisher.publish(a_request())

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert world.client.xlen(REQUESTS) == 160


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_fork_of_the_application_publishes_for_itself(publisher, world):
    publisher.publish(a_request())
    if (child := os.fork()) == 0:
        try:
            publisher.publish(a_request())
            os._exit(0)
        finally:
            os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    publisher.publish(a_request())
    assert world.client.xlen(REQUESTS) == 3


def test_a_publisher_that_was_closed_starts_anew(publisher, world):
    publisher.publish(a_request())
    publisher.close()
    publisher.close()

    publisher.publish(a_request())
    assert world.client.xlen(REQUESTS) == 2


def test_closing_waits_for_what_other_threads_publish(publisher, world):
    """None of them may be left waiting for a loop that has ended."""

    def publish():
        for _ in range(30):
            publisher.publish(a_request())

    threads = [threading.Thread(target=publish, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and world.client.xlen(REQUESTS) < 100:
        publisher.close()
    for thread in threads:
        thread.join(10)

    assert not any(thread.is_alive() for thread in threads)
    assert world.client.xlen(REQUESTS) == 120


def test_a_server_that_is_away_is_an_error_that_a_retry_may_mend(server, world):
    with Proxy(server) as proxy, Publisher(proxy.url) as publisher:
        proxy.cut()
        request = a_request()
        with pytest.raises(PublishFailed, match=f"{request.plugin_run_id}.*publish it again later"):
            publisher.publish(request)
        proxy.mend()
        assert publisher.publish(request)


def test_a_full_queue_is_one_too(url, world):
    with Publisher(url, Settings(max_waiting=1)) as publisher:
        publisher.publish(a_request())
        with pytest.raises(PublishFailed, match="1 runs wait") as raised:
            publisher.publish(a_request())

    assert raised.value.is_retryable
    assert raised.value.is_known_to_have_failed
    assert world.client.xlen(REQUESTS) == 1


def test_a_server_that_refuses_us_is_none(publisher, world):
    world.client.set(Keys.of(Settings()).waiting, "not a hash")

    with pytest.raises(PublishFailed, match="a retry cannot help") as raised:
        publisher.publish(a_request())

    assert not raised.value.is_retryable


@pytest.mark.parametrize("url", ["http://somewhere", "redis://127.0.0.1:x/0", "", "redis://"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url):
    with pytest.raises(AddressInvalid) as raised:
        Publisher(url)

    assert not raised.value.is_retryable


def test_a_password_in_a_wrong_address_is_not_told():
    with pytest.raises(AddressInvalid) as raised:
        AsyncPublisher(f"redis://:{SECRET}@host:port/0")

    assert SECRET not in str(raised.value)


ring = {}
ring["ring"] = ring
DEEP = {}
for _ in range(100):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"plugin_name": "../x"}, "plugin_name"),
        ({"user_id": -1}, "user_id"),
        ({"user_id": "7"}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"plugin_run_id": ""}, "plugin_run_id"),
        ({"plugin_run_id": "a\nb"}, "plugin_run_id"),
        ({"priority": "urgent"}, "none of critical, high, normal, low"),
        ({"settings": {"x": float("nan")}}, "as JSON"),
        ({"settings": {"x": object()}}, "as JSON"),
        ({"settings": {1: 2}}, "must be text"),
        ({"settings": {"x": "\ud800"}}, "as JSON"),
        ({"settings": ring}, "as JSON"),
        ({"settings": DEEP}, "deeper than 64"),
        ({"settings": {"x": "y" * 2**20}}, "at most 1048576"),
        ({"delay_s": -1}, "delay_s"),
        ({"delay_s": float("nan")}, "delay_s"),
        ({"at": time.time() + 5, "delay_s": 5}, "at and delay_s"),
        ({"unique_for_s": -5}, "unique_for_s"),
    ],
)
def test_what_would_be_buried_is_refused_here(publisher, world, facts, told):
    with pytest.raises(RequestInvalid, match=told) as raised:
        publisher.publish(a_request(**facts))

    assert not raised.value.is_retryable
    assert world.client.keys("*") == []


def test_settings_are_not_shown_with_a_request():
    assert SECRET not in repr(a_request(settings={"_llm_api_key": SECRET}))
