"""Whatever a producer writes: the script lives, the supervisor sees it, and buries it."""

import json

import pytest

from supervisor import verdicts
from supervisor.streams.queue import Lease, Nothing
from supervisor.streams.wire import Rejected, Request, parse
from tests.streams.conftest import LIMITS, done, taken
from tests.support.redis_world import REQUESTS, RESUMED

GOOD = {"plugin_run_id": "r-1", "plugin_name": "echoes", "user_id": 1, "settings": None}


def request(**other):
    return json.dumps(GOOD | other)


def deep(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


REJECTED = {
    "no JSON": "{",
    "an empty text": "",
    "a number": "7",
    "an array": "[]",
    "a string": '"r-1"',
    "a thousand levels": f'{{"plugin_run_id":"r-1","settings":{deep(1001)}}}',
    "thirty thousand levels": f'{{"plugin_run_id":"r-1","settings":{deep(30_000)}}}',
    "objects in objects": deep(2000, '{"a":', "1}")[:-1],
    "a NUL": '{"plugin_run_id":"r-1"\0}',
    "a NUL in the run id": request(plugin_run_id="r\0-1"),
    "control characters in the run id": request(plugin_run_id="r-1\n\x1b[2J"),
    "a DEL in the run id": request(plugin_run_id="r-1\x7f"),
    "a C1 control in the run id": request(plugin_run_id="r-1\x9b"),
    "a raw C1 control in the run id": '{"plugin_run_id":"r\x9b","plugin_name":"echoes"}',
    "half a surrogate pair in the run id": request(plugin_run_id="r-\ud800"),
    "half a surrogate pair in the settings": request(settings={"a": "\ud800"}),
    "half a surrogate pair elsewhere": request(more="\ud800"),
    "a run id that is too long": request(plugin_run_id="x" * 129),
    "a run id of too many letters": request(plugin_run_id="ö" * 129),
    "a megabyte of run id": '{"plugin_run_id":"' + "x" * 50_000 + '"}',
    "an empty run id": request(plugin_run_id=""),
    "a number as run id": request(plugin_run_id=7),
    "null as run id": request(plugin_run_id=None),
    "a list as run id": request(plugin_run_id=["r-1"]),
    "a number as plugin": request(plugin_name=7),
    "a NUL in the plugin": request(plugin_name="echoes\0"),
    "a plugin of ten kilobytes": request(plugin_name="x" * 10_000),
    "a path as plugin": request(plugin_name="../../etc"),
    "a pattern as plugin": request(plugin_name="%Z+"),
    "NaN": '{"plugin_run_id":"r-1","plugin_name":"echoes","user_id":NaN}',
    "hexadecimal": '{"plugin_run_id":"r-1","plugin_name":"echoes","user_id":0x10}',
    "two run ids in one text": '{"plugin_run_id":"r-1","settings":{"plugin_run_id":"r-2"}, NaN}',
    "a run id in the settings": '{"settings":{"plugin_run_id":"r-1"}}',
}
BYTES = {
    "a run id that is no UTF-8": b'{"plugin_run_id":"r-\xff","plugin_name":"echoes","user_id":1}',
    "an overlong run id": b'{"plugin_run_id":"r-\xc0\x80","plugin_name":"echoes","user_id":1}',
    "a surrogate in UTF-8": b'{"plugin_run_id":"\xed\xa0\x80","plugin_name":"echoes","user_id":1}',
    "above Unicode": b'{"plugin_run_id":"\xf4\x90\x80\x80","plugin_name":"echoes","user_id":1}',
    "a plugin that is no UTF-8": b'{"plugin_run_id":"r-1","plugin_name":"\xff","user_id":1}',
    "bytes": bytes(range(256)),
}
ACCEPTED = {
    "letters of all lengths": request(plugin_run_id="aö€😀" * 32),
    "the last of Unicode": request(plugin_run_id="\U0010ffff\ud7ff\ue000\xa0"),
    "a run id with spaces and quotes": request(plugin_run_id="a b\"c'%Z?{}"),
    "unescaped letters": json.dumps(GOOD | {"plugin_run_id": "öäü€😀"}, ensure_ascii=False),
    "a name twice": '{"plugin_run_id":"first","plugin_run_id":"r-1","plugin_name":"echoes",'
    '"user_id":1}',
}


async def judged(queue, consumer="host.s0", limits="{}"):
    """Take an entry and judge it as the supervisor does."""
    entry = await taken(queue, consumer, limits)
    return entry, parse(entry, LIMITS.max_payload_bytes)


async def bury(queue, entry, rejected):
    """Bury what was rejected."""
    ending = verdicts.of_rejected(entry, rejected, verdicts.Context("host.s0", lambda _: None))
    return await queue.bury(Lease.of(entry, "host.s0"), ending, {})


@pytest.mark.parametrize("payload", [*REJECTED.values(), *BYTES.values()], ids=[*REJECTED, *BYTES])
async def test_it_reaches_the_supervisor_is_buried_and_leaves_no_trace(queue, world, payload):
    world.publish(raw=payload)
    limits = '{"echoes":{"c":1,"n":100,"p":60000}}'

    entry, rejected = await judged(queue, "host.s0", limits)
    how = await bury(queue, entry, rejected)

    assert isinstance(rejected, Rejected)
    assert how == "buried"
    assert len(world.dead_letters()) == 1
    assert [r["status"] for r in world.results()] == ["failed"] * bool(rejected.run_id)
    assert world.holding() == world.running() == {}
    world.assert_nothing_pending()
    assert isinstance((await queue.take("host.s0", limits)).got, Nothing)


@pytest.mark.parametrize("payload", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_the_supervisor_accepts_is_held_under_its_run(queue, world, payload):
    world.publish(raw=payload)

    entry, request = await judged(queue)

    assert isinstance(request, Request)
    assert list(world.holding()) == [request.run_id]
    assert world.running() == {"echoes": 1}
    await queue.finish(Lease.of(entry, "host.s0"), done(request.run_id), {})
    assert world.holding() == world.running() == {}


async def test_what_can_be_parked_is_what_can_be_read(queue, world):
    """A name that Redis keeps and Python cannot write would end the supervisor."""
    world.set_plugin_state("echoes", state="paused")
    for payload in BYTES.values():
        world.publish(raw=payload)

    for n in range(len(BYTES)):
        answer = await queue.take(f"host.s{n}")
        for passed in answer.passed:
            passed.run_id.encode()

    assert world.parked() == {}


@pytest.mark.parametrize("plugin", ["x" * 10_000, "echoes\0", "\1", "ä"])
async def test_a_hostile_plugin_name_counts_for_no_plugin(queue, world, plugin):
    world.publish("r-1", plugin)

    await taken(queue)

    assert list(world.holding()) == ["r-1"]
    assert world.running() == {}


async def test_a_field_that_comes_twice_counts_once_and_for_all(queue, world):
    """Redis keeps both. Whoever counts by one and runs the other lets limits be passed by."""
    first, second = world.payload("r-1"), world.payload("r-2", "other")
    world.client.execute_command("XADD", REQUESTS, "*", "payload", first, "payload", second)

    entry, request = await judged(queue)

    assert (request.run_id, request.plugin) == ("r-1", "echoes")
    assert entry.payload_bytes == len(first)
    assert list(world.holding()) == ["r-1"]
    assert world.running() == {"echoes": 1}


async def test_forged_fields_of_ours_change_nothing(queue, world):
    forged = {"crewpool_level": "0", "crewpool_unique": "x" * 40, "attempt": "-1"}
    world.publish("r-1", **forged)

    entry = await taken(queue)

    assert (entry.level, entry.unique, entry.attempt) == (2, "", 1)


async def test_a_forged_level_does_not_survive_parking(queue, world):
    world.set_plugin_state("echoes", state="paused")
    world.publish("r-1", crewpool_level="0")
    await queue.take("host.s0")
    world.client.delete("crewpool:plugins")

    assert (await taken(queue)).level == 2


@pytest.mark.parametrize("level", ["9", "-1", "x", "", "1e99", "²"])
async def test_a_stranger_in_the_resumed_stream_is_an_entry_like_any_other(queue, world, level):
    world.client.xadd(RESUMED, {"payload": world.payload("r-1"), "crewpool_level": level})

    entry = await taken(queue)

    assert (entry.stream, entry.level) == (RESUMED, 2)
    assert list(world.holding()) == ["r-1"]


async def test_a_unique_key_of_another_run_is_not_freed(queue, world):
    digest = "a" * 40
    world.client.set(f"crewpool:unique:{digest}", "r-other")
    world.publish("r-1", crewpool_unique=digest)
    entry = await taken(queue)

    await queue.finish(Lease.of(entry, "host.s0"), done(), {})

    assert entry.unique == digest
    assert world.client.get(f"crewpool:unique:{digest}") == "r-other"
