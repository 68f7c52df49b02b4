"""What a dispatcher or a relay does whose user of Redis may add entries and run no scripts."""

import asyncio

import pytest

from supervisor.runs.dispatch import Dispatcher
from supervisor.runs.publisher import Publisher, PublishFailed
from supervisor.runs.relay import MOST_REFUSED, Relay
from supervisor.runs.requests import PluginRequest
from supervisor.settings import Settings
from supervisor.streams.deployment import queue_of
from supervisor.streams.queue import Nothing
from tests.acceptance.conftest import permit
from tests.support.redis_world import REQUESTS

ON = ("sqlite",)


@pytest.fixture
def weak(redis_server):
    """A publisher with the rights of an application."""
    permit(redis_server.client, "application")
    with Publisher(redis_server.url.replace("//", "//application:word@")) as weak:
        yield weak
    redis_server.client.acl_deluser("application")


@pytest.fixture
def takes(redis_server):
    """Take as often as asked by slots of their own; return how many runs came."""

    async def taking(slots):
        queue = queue_of(Settings(redis_url=redis_server.url))
        await queue.ensure_groups()
        got = [(await queue.take(f"host.s{slot}")).got for slot in range(slots)]
        await queue.close()
        return len([one for one in got if not isinstance(one, Nothing)])

    return lambda slots: asyncio.run(taking(slots))


def test_a_relay_that_dies_may_add_a_second_entry_and_the_run_runs_once(
    store, added, weak, world, takes
):
    run_id = added()
    relay, mark = Relay(store, weak, grace_s=0), store.mark_published
    store.mark_published = lambda _: []
    relay.relay_once()
    store.mark_published = mark

    assert relay.relay_once().published == 1
    assert store.get(run_id).payload is None
    assert world.client.xlen(REQUESTS) == 2
    assert takes(3) == 1


def test_what_needs_a_script_is_left_to_a_relay_that_may(store, added, weak, sealer, redis_server):
    later, now = added(delay_s=60), added()
    done = Relay(store, weak, sealer, grace_s=0).relay_once()

    assert (done.published, done.failed, done.skipped) == (1, 0, 1)
    assert "no permissions" in done.because
    assert "users.acl" in done.because
    assert store.get(now).published_at
    run = store.get(later)
    assert (run.status, run.publish_failures) == ("pending", 0)
    assert "no permissions" in run.last_publish_error
    with Publisher(redis_server.url) as strong:
        assert Relay(store, strong, sealer, grace_s=0).relay_once().published == 1


def test_a_relay_that_may_nothing_does_not_try_all_of_them(store, added, weak, redis_server):
    ids = [added() for _ in range(MOST_REFUSED + 2)]
    redis_server.client.acl_setuser("application", enabled=True, commands=["-xadd"])
    done = Relay(store, weak, grace_s=0).relay_once()

    assert (done.published, done.failed, done.skipped) == (0, 0, MOST_REFUSED)
    assert "no permissions" in done.trouble
    assert store.get(ids[-1]).last_publish_error == ""


def test_a_dispatch_that_needs_a_script_says_what_to_mend(store, weak, sealer):
    with Dispatcher(store, weak, sealer) as dispatcher:
        with pytest.raises(PublishFailed, match="no permissions") as raised:
            dispatcher.dispatch(PluginRequest("hello", 7, delay_s=60))
        assert dispatcher.dispatch(PluginRequest("hello", 7)).what == "published"

    assert "users.acl" in raised.value.next_step
