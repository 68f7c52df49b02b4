"""Orders are heard once and answered where they may be, also over an outage."""

import asyncio
import json
import logging
import time

import pytest

from supervisor.errors import RedisAway
from supervisor.log import Log
from supervisor.streams import asking, connection
from supervisor.streams import control as control_module
from supervisor.streams.control import Control
from supervisor.streams.keys import Keys
from supervisor.streams.link import Link
from supervisor.streams.messages import Order, new_reply_stream
from supervisor.streams.queue import Queue
from tests.streams.conftest import KEYS, LIMITS
from tests.support.clusters import Cluster
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, keeps_true

# Each server and each protocol once: these tests wait.
BACKENDS = ("redis-resp2", "valkey-resp3")
HOST = "vm-1-4f2a"
OWN = f"crewpool:messages:{HOST}"
ALL = "crewpool:messages:all"
REPLIES = "crewpool:messages:reply:0123456789abcdef"


class Ear:
    """The control channel of one supervisor, with the test in the place of its loop."""

    def __init__(self, url, host=HOST, keys=KEYS):
        log = Log()
        self.link = Link(time.monotonic, lambda: None, log)
        self.queue = Queue(url, keys, LIMITS)
        self.control = Control(self.queue, url, self.link, host, lambda: None, log)
        self.orders = []
        self._tasks = []

    async def __aenter__(self):
        self.link.note_up()
        works = (self.control.listen_for_ever(), self.control.answer_for_ever())
        self._tasks = [asyncio.ensure_future(work) for work in works]
        await eventually(lambda: len(self.control._after) == 2)
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.control.close()
        await self.queue.close()

    def heard(self):
        self.orders += self.control.take()
        return self.orders

    def kinds(self):
        return [order.kind for order in self.heard()]

    def go_down(self):
        self.link.note_down(RedisAway("there", "drill"))


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


@pytest.fixture
def replies(server):
    """The replies so far, with their data decoded."""

    def replies():
        found = [fields for _, fields in server.client.xrange(REPLIES)]
        return [reply | {"data": json.loads(reply["data"])} for reply in found]

    return replies


# ------------------------------------------------------------------- hearing


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


# ----------------------------------------------------------------- answering


async def test_a_reply_says_who_what_and_how_and_does_not_stay(ear, server, tell, replies):
    tell(kind="ping", id="a-1", reply_to=REPLIES)
    (order,) = await eventually(ear.heard)
    ear.control.answer(order, ok=True, text="running", facts={"busy": 1})

    await eventually(replies)

    fields = {"host": HOST, "id": "a-1", "ok": "1", "text": "running", "data": {"busy": 1}}
    assert replies() == [fields]
    assert 0 < server.client.ttl(REPLIES) <= 60


async def test_who_wants_no_reply_gets_none(ear, server, tell):
    tell(kind="ping")
    (order,) = await eventually(ear.heard)
    ear.control.answer(order, ok=True, text="", facts={})

    await keeps_true(lambda: set(server.client.keys()) <= {OWN}, 0.3)


async def test_a_bad_message_is_answered_logged_and_nothing_else(ear, tell, replies, caplog):
    caplog.set_level(logging.INFO, "crewpool")
    tell(kind="scale", workers="all\nof them", id="a-1", reply_to=REPLIES)

    (reply,) = await eventually(replies)

    assert (reply["ok"], reply["id"]) == ("0", "a-1")
    assert "workers must be a number from 0 to 512" in reply["text"]
    (line,) = [text for text in caplog.messages if text.startswith("message_refused")]
    assert "\n" not in line
    assert ear.heard() == []


@pytest.mark.parametrize(
    "reply_to", ["plugin:results", ALL, "crewpool:hosts", "crewpool:messages:reply:../x", "x" * 99]
)
async def test_nobody_makes_us_write_where_he_likes(ear, server, tell, caplog, reply_to):
    tell(kind="ping", id="a-1", reply_to=reply_to)
    tell(kind="nonsense", id="a-2", reply_to=reply_to)
    await eventually(lambda: caplog.text.count("message_refused") == 2)
    before = set(server.client.keys())

    await keeps_true(lambda: set(server.client.keys()) == before, 0.3)
    assert ear.heard() == []
    if server.client.exists(reply_to):
        assert server.client.type(reply_to) == "stream"
        assert "host" not in str(server.client.xrange(reply_to))


async def test_bytes_that_are_no_text_end_nothing(ear, server, tell, replies):
    server.client.execute_command("XADD", OWN, "*", b"\xff\xfe", b"\xff", b"kind", b"\xff\x00")
    tell(kind="\x00\x1b[31m", id="a-1", reply_to=REPLIES)
    await eventually(replies)
    tell(kind="ping")

    await eventually(lambda: ear.kinds() == ["ping"])


async def test_a_reply_that_redis_refuses_does_not_stop_the_others(ear, server, tell, replies):
    other = new_reply_stream(KEYS)
    server.client.set(other, "in the way")
    tell(kind="ping", id="a-1", reply_to=other)
    tell(kind="ping", id="a-2", reply_to=REPLIES)
    await eventually(lambda: len(ear.heard()) == 2)
    for order in ear.heard():
        ear.control.answer(order, ok=True, text="", facts={})

    await eventually(lambda: [reply["id"] for reply in replies()] == ["a-2"])
    assert server.client.get(other) == "in the way"


async def test_a_reply_waits_for_the_end_of_an_outage(ear, tell, replies):
    tell(kind="ping", id="a-1", reply_to=REPLIES)
    (order,) = await eventually(ear.heard)
    ear.go_down()
    ear.control.answer(order, ok=True, text="", facts={})
    await keeps_true(lambda: replies() == [], 0.2)

    ear.link.note_up()

    await eventually(lambda: len(replies()) == 1)


async def test_its_own_stream_has_an_end_and_goes_with_it(ear, server, tell):
    tell(kind="ping")
    await eventually(lambda: server.client.ttl(OWN) > 86_000)

    await ear.control.leave()

    assert not server.client.exists(OWN)


# -------------------------------------------------------------------- asking


async def test_an_order_reaches_those_it_is_for_and_their_replies_come_back(url, server):
    async with Ear(url, "vm-1") as one, Ear(url, "vm-2") as two, Ear(url, "vm-3") as three:

        async def obey(ear, text):
            (order,) = await eventually(ear.heard)
            ear.control.answer(order, ok=ear is one, text=text, facts={})

        work = asyncio.gather(obey(one, "done"), obey(two, "no"))
        heard = await asking.ask(one.queue, url, ["vm-2", "vm-1"], Order("pause", 0), 5)
        await work

        assert [(h.host, h.reply.ok, h.reply.text) for h in heard] == [
            ("vm-2", False, "no"),
            ("vm-1", True, "done"),
        ]
        assert three.heard() == []
        assert server.client.ttl("crewpool:messages:vm-1") > 86_000


async def test_on_a_cluster_all_of_it_goes_to_the_node_that_has_our_names(tmp_path):
    names = ("{cortex}:tasks:normal", "{cortex}:results", "{cortex}:tasks:dlq", "in", "out")
    keys = Keys(*names, messages="{cortex}:messages")
    cluster = Cluster(tmp_path).start()
    try:
        async with Ear(cluster.url, "vm-1", keys) as ear:

            async def obey():
                (order,) = await eventually(ear.heard)
                ear.control.answer(order, ok=True, text="done", facts={})

            work = asyncio.ensure_future(obey())
            (heard,) = await asking.ask(ear.queue, cluster.url, ["vm-1"], Order("ping", 0), 5)
            await work
            await ear.control.leave()

        assert heard.reply.text == "done"
    finally:
        cluster.stop()


async def test_who_does_not_answer_is_told_when_the_time_is_over(url, ear):
    began = time.monotonic()
    (heard,) = await asking.ask(ear.queue, url, ["vm-gone"], Order("ping", 0), 0.4)

    assert heard.reply is None
    assert 0.4 <= time.monotonic() - began < 2


async def test_a_reply_to_another_question_is_none(url, ear, server):
    async def forge():
        (order,) = await eventually(ear.heard)
        server.client.xadd(order.reply_to, {"id": "else", "host": HOST, "ok": "1", "data": "{}"})

    (heard, _) = await asyncio.gather(
        asking.ask(ear.queue, url, [HOST], Order("ping", 0), 0.5), forge()
    )

    assert heard[0].reply is None
