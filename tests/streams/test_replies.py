"""Orders are answered where they may be, and whoever asked hears it."""

import asyncio
import json
import logging
import time

import pytest

from supervisor.streams import asking
from supervisor.streams.keys import Keys
from supervisor.streams.messages import Order, new_reply_stream
from tests.streams.conftest import KEYS
from tests.streams.ear import ALL, HOST, OWN, REPLIES, Ear
from tests.support.clusters import Cluster
from tests.support.waiting import eventually, keeps_true

# Each server and each protocol once: these tests wait.
BACKENDS = ("redis-resp2", "valkey-resp3")


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
