"""Orders are heard once, also over an outage."""

import asyncio
import time

import pytest

from supervisor.streams import connection
from supervisor.streams import control as control_module
from tests.streams.ear import ALL, OWN, REPLIES, Ear
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, keeps_true

# Each server and each protocol once: these tests wait.
BACKENDS = ("redis-resp2", "valkey-resp3")


def listens(server):
    return server.client.info("clients")["blocked_clients"] == 1


@pytest.fixture
async def ear(url):
    async with Ear(url) as ear:
        yield ear


@pytest.fixture
def tell(server):
    """Write a message; return its entry's id."""

    def tell(stream=OWN, **fields):
        return server.client.xadd(stream, fields)

    return tell


async def test_both_streams_are_heard_and_each_message_once(ear, tell):
    tell(kind="pause", reason="new disk")
    tell(ALL, kind="cancel", run="r-1")
    tell(kind="resume")
    await eventually(lambda: len(ear.heard()) == 3)
    await keeps_true(lambda: len(ear.heard()) == 3, 0.3)

    assert sorted(ear.kinds()) == ["cancel", "pause", "resume"]
    assert ear.kinds().index("pause") < ear.kinds().index("resume")


async def test_many_messages_at_once_keep_their_order(ear, tell):
    for number in range(3 * control_module.PAGE):
        tell(kind="scale", workers=number)

    await eventually(lambda: len(ear.heard()) == 3 * control_module.PAGE)
    assert [order.workers for order in ear.orders] == list(range(3 * control_module.PAGE))


async def test_a_message_is_heard_within_100_ms(ear, server, tell):
    await eventually(lambda: listens(server))
    began = time.monotonic()
    tell(ALL, kind="cancel", run="r-1")

    await eventually(ear.heard)

    assert time.monotonic() - began < 0.1


async def test_what_was_told_before_it_came_is_not_for_it(url, tell):
    tell(kind="drain")
    tell(ALL, kind="drain")
    async with Ear(url) as ear:
        tell(kind="ping")
        await eventually(ear.heard)
        await keeps_true(lambda: ear.kinds() == ["ping"], 0.3)


async def test_a_cancel_from_before_is_heard_as_an_old_one(url, server, tell):
    """The run may have been taken here in the moment before we listened."""
    tell(ALL, kind="drain")
    told = tell(ALL, kind="cancel", run="r-1", id="a", reply_to=REPLIES)
    async with Ear(url) as ear:
        await eventually(ear.heard)

    (order,) = ear.orders
    assert (order.kind, order.run, order.is_old) == ("cancel", "r-1", True)
    assert order.at_ms == int(told.split("-")[0])
    assert order.reply_to == ""
    assert not server.client.exists(REPLIES)


async def test_nothing_is_missed_between_the_start_and_the_first_read(url, tell):
    ear = Ear(url)
    await ear.control._find_place()
    tell(kind="pause")
    tell(ALL, kind="reload")
    async with ear:
        await eventually(lambda: sorted(ear.kinds()) == ["pause", "reload"])


async def test_what_is_told_in_an_outage_is_heard_after_it_and_once(ear, server, tell):
    tell(kind="pause")
    await eventually(ear.heard)
    ear.go_down()
    await eventually(lambda: not listens(server))
    tell(kind="resume")
    tell(ALL, kind="cancel", run="r-1")
    await keeps_true(lambda: ear.kinds() == ["pause"], 0.3)

    ear.link.note_up()

    await eventually(lambda: len(ear.heard()) == 3)
    await keeps_true(lambda: sorted(ear.kinds()) == ["cancel", "pause", "resume"], 0.3)
    assert not any(order.is_old for order in ear.orders)


async def test_a_cut_connection_of_its_own_is_no_outage(url, server, tell):
    with Proxy(server) as proxy:
        async with Ear(f"{proxy.url}?{url.partition('?')[2]}") as ear:
            proxy.cut()
            tell(kind="pause")
            await keeps_true(lambda: ear.link.is_up and not ear.heard(), 0.3)
            proxy.mend()
            await eventually(lambda: ear.kinds() == ["pause"])

    assert ear.link.outages == 0


# redis-py leaves a connection to the collector that was cancelled while it connected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_outage_that_others_notice_ends_a_read_that_hangs(url, server, tell):
    with Proxy(server) as proxy:
        async with Ear(f"{proxy.url}?{url.partition('?')[2]}") as ear:
            await eventually(lambda: listens(server))
            # From now on no answer comes through, and no end of the connection either.
            proxy.delay_s = 3600
            tell(kind="pause")
            await keeps_true(lambda: not ear.heard(), 0.3)
            proxy.delay_s = 0
            ear.go_down()
            ear.link.note_up()
            await eventually(lambda: ear.kinds() == ["pause"], 5)


async def test_a_server_that_lost_everything_is_heard_again(ear, server):
    server.client.xadd(OWN, {"kind": "pause"}, id="99999999999999-0")
    await eventually(ear.heard)
    ear.go_down()
    server.client.flushall()
    ear.link.note_up()
    await eventually(lambda: ear.control._after[OWN] == "0-0")

    server.client.xadd(OWN, {"kind": "resume"})

    await eventually(lambda: ear.kinds() == ["pause", "resume"])


async def test_a_block_that_is_longer_than_the_timeout_of_answers_is_no_error(
    url, server, tell, monkeypatch, caplog
):
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(control_module, "BLOCK_S", 0.6)
    async with Ear(url) as ear:
        server.client.config_resetstat()
        await keeps_true(lambda: not ear.heard(), 1.5)
        assert server.client.info("commandstats")["cmdstat_xread"]["calls"] <= 3
        tell(kind="ping")
        await eventually(ear.heard)

    assert "redis_refused" not in caplog.text


async def test_a_stream_of_the_wrong_type_is_told_and_survived(url, server, tell, caplog):
    server.client.set(ALL, "in the way")
    ear = Ear(url)
    ear.link.note_up()
    task = asyncio.ensure_future(ear.control.listen_for_ever())
    await eventually(lambda: "redis_refused" in caplog.text)
    server.client.delete(ALL)
    await eventually(lambda: len(ear.control._after) == 2)
    tell(ALL, kind="ping")

    await eventually(lambda: ear.kinds() == ["ping"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ear.control.close()
    await ear.queue.close()
