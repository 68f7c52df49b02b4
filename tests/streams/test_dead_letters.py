"""Dead letters, found, purged and replayed: what a letter holds, and what must be given anew."""

import json

import pytest

from supervisor.streams import dead_letters
from supervisor.streams.dead_letters import Letter, Wanted, find, letters, purge
from supervisor.streams.endings import Bury, DeadLetter
from supervisor.streams.queue import Lease
from supervisor.streams.replay import CannotReplay, replay
from supervisor.streams.wire import Result, safe_payload
from tests.streams.conftest import taken
from tests.support.redis_world import DEAD_LETTERS, REQUESTS, STREAMS


@pytest.fixture
def bury(queue, world):
    """Publish a run, take it and bury it, as a supervisor does; return its letter."""

    async def bury(run_id="r-1", settings=None, *, plugin="echoes", cause="crash", **more):
        if "raw" in more:
            world.publish(**more)
        else:
            world.publish(run_id, plugin, settings, **more)
        entry = await taken(queue)
        facts = {"reason": "attempts_exhausted", "class": cause, "attempts": "3"}
        facts |= {"last_error": "Worker died", "stream": entry.stream, "entry_id": entry.id}
        letter = DeadLetter(safe_payload(entry), facts)
        result = Result(run_id, "failed", error="Worker died")
        lease = Lease.of(entry, "host.s0")
        assert await queue.bury(lease, Bury(letter, result, cause), {"state": "failed"}) == "buried"
        return await find(queue, run_id)

    return bury


async def ids(queue, **wanted):
    return [letter.run_id async for letter in letters(queue, Wanted(**wanted))]


def everything(world):
    """Return all keys and values. SCAN has no order."""
    return sorted(world.everything().splitlines())


async def test_they_come_newest_first_and_over_many_pages(queue, world, monkeypatch):
    monkeypatch.setattr(dead_letters, "PAGE", 3)
    for number in range(10):
        world.client.xadd(DEAD_LETTERS, {"payload": world.payload(f"r-{number}")})

    assert await ids(queue) == [f"r-{number}" for number in reversed(range(10))]


async def test_they_are_filtered_by_plugin_class_and_age(queue, world):
    now_ms = world.client.time()[0] * 1000
    for number, (plugin, cause, age_s) in enumerate(
        [("a", "crash", 7200), ("b", "crash", 600), ("a", "timeout", 60), ("a", "crash", 1)]
    ):
        fields = {"payload": world.payload(f"r-{number}", plugin), "class": cause}
        world.client.xadd(DEAD_LETTERS, fields, id=f"{now_ms - age_s * 1000}-0")

    assert await ids(queue, plugin="a") == ["r-3", "r-2", "r-0"]
    assert await ids(queue, cause="crash") == ["r-3", "r-1", "r-0"]
    assert await ids(queue, older_s=300) == ["r-1", "r-0"]
    assert await ids(queue, newer_s=300) == ["r-3", "r-2"]
    assert await ids(queue, older_s=30, newer_s=3600) == ["r-2", "r-1"]
    assert await ids(queue, plugin="a", cause="crash", older_s=30) == ["r-0"]


async def test_one_is_found_by_its_id_and_by_its_run(queue, world):
    first = world.client.xadd(DEAD_LETTERS, {"payload": world.payload("r-1")})
    newest = world.client.xadd(DEAD_LETTERS, {"payload": world.payload("r-1")})
    odd = world.client.xadd(DEAD_LETTERS, {"payload": world.payload("9-9")})

    assert (await find(queue, first)).id == first
    assert (await find(queue, "r-1")).id == newest
    assert (await find(queue, "9-9")).id == odd
    assert await find(queue, f"{2**64}-0") is None
    assert await find(queue, "r-none") is None


@pytest.mark.parametrize(
    "payload", ["", "[]", "{", "[" * 100_000, '{"plugin_run_id": 1, "plugin_name": {}}', "\ud800"]
)
def test_whatever_a_letter_holds_can_be_looked_at(payload):
    letter = Letter("1-0", {"payload": payload})

    assert (letter.run_id, letter.plugin, letter.cause, letter.facts) == ("", "", "", {})


async def test_only_what_was_named_is_purged(queue, world, monkeypatch):
    monkeypatch.setattr(dead_letters, "PURGED_AT_A_TIME", 2)
    made = [world.client.xadd(DEAD_LETTERS, {"payload": "{}"}) for _ in range(6)]

    assert await purge(queue, [*made[:5], "1-1"]) == 5
    assert [entry_id for entry_id, _ in world.client.xrange(DEAD_LETTERS)] == made[5:]


async def test_a_plain_replay_of_a_run_with_a_result_says_force(queue, world, bury):
    letter = await bury()
    before = everything(world)

    with pytest.raises(CannotReplay, match="the application will see a second one") as refused:
        await replay(queue, letter, {}, is_forced=False)

    assert refused.value.next_step == f"crewpool dlq replay {letter.id} --force"
    assert everything(world) == before


async def test_a_replay_takes_the_request_with_its_credentials_from_its_stream(queue, world, bury):
    settings = {"_llm_api_key": "sk-1", "limit": 1, "mail": {"_key": "k"}}
    letter = await bury(settings=settings, attempt=3, traceparent="00-ab")
    assert "sk-1" not in json.dumps(letter.fields)

    replayed = await replay(queue, letter, {}, is_forced=True)

    assert (replayed.what, replayed.run_id) == ("published", "r-1")
    entry = await taken(queue)
    assert json.loads(entry.fields["payload"])["settings"] == settings
    assert entry.attempt == 1
    fields = world.entries()[-1][1]
    assert fields["traceparent"] == "00-ab"
    assert set(fields) == {"payload", "published_at", "schema_version", "traceparent"}
    assert world.dead_letters() == []


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_replay_keeps_the_priority(queue, world, bury, stream):
    letter = await bury(stream=stream)

    await replay(queue, letter, {}, is_forced=True)

    assert (await taken(queue)).stream == stream


async def test_when_the_request_is_gone_masked_credentials_are_asked_for(queue, world, bury):
    letter = await bury(settings={"_llm_api_key": "sk-1", "_tavily_api_key": "tv", "limit": 1})
    world.client.xtrim(REQUESTS, maxlen=0)
    before = everything(world)

    with pytest.raises(CannotReplay, match="_llm_api_key, _tavily_api_key masked") as refused:
        await replay(queue, letter, {"_llm_api_key ": "x"}, is_forced=True)
    assert "--secret _llm_api_key=VARIABLE --secret _tavily" in refused.value.next_step
    assert everything(world) == before

    given = {"_llm_api_key": "sk-2", "_tavily_api_key": "tv-2"}
    await replay(queue, letter, given, is_forced=True)

    asked = json.loads((await taken(queue)).fields["payload"])
    assert asked["settings"] == {**given, "limit": 1}
    assert (asked["plugin_run_id"], asked["plugin_name"], asked["user_id"]) == ("r-1", "echoes", 42)


async def test_without_credentials_the_letter_is_enough(queue, world, bury):
    letter = await bury(settings={"limit": 1}, traceparent="00-ab")
    world.client.xtrim(REQUESTS, maxlen=0)

    await replay(queue, letter, {}, is_forced=True)

    ((_, fields),) = world.entries()
    assert json.loads(fields["payload"])["settings"] == {"limit": 1}
    assert fields["traceparent"] == "00-ab"
    assert "reason" not in fields


async def test_what_is_masked_inside_cannot_be_given_anew(queue, world, bury):
    letter = await bury(settings={"mail": [{"_password": "x"}]})
    world.client.xtrim(REQUESTS, maxlen=0)

    with pytest.raises(CannotReplay, match=r"has mail\.0\._password masked"):
        await replay(queue, letter, {"_password": "y"}, is_forced=True)


async def test_other_credentials_may_be_given_for_a_request_that_is_there(queue, world, bury):
    letter = await bury(settings={"_llm_api_key": "wrong", "limit": 1})

    await replay(queue, letter, {"_llm_api_key": "right"}, is_forced=True)

    asked = json.loads((await taken(queue)).fields["payload"])
    assert asked["settings"] == {"_llm_api_key": "right", "limit": 1}


async def test_an_entry_of_another_run_is_not_taken_for_the_request(queue, world, bury):
    letter = await bury()
    other = world.publish("r-2", settings={"limit": 9})
    odd = Letter(letter.id, {**letter.fields, "entry_id": world.entries()[-1][0]})

    await replay(queue, odd, {}, is_forced=True)

    assert other == "r-2"
    assert json.loads(world.entries()[-1][1]["payload"])["plugin_run_id"] == "r-1"


@pytest.mark.parametrize("place", [("crewpool:secrets", "1-1"), (REQUESTS, "nonsense"), ("", "")])
async def test_a_letter_that_points_nowhere_is_replayed_from_itself(queue, world, bury, place):
    letter = await bury()
    odd = Letter(letter.id, {**letter.fields, "stream": place[0], "entry_id": place[1]})

    assert (await replay(queue, odd, {}, is_forced=True)).what == "published"


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ({"raw": '{"plugin_run_id": "r-1", "plu'}, "it would be buried again: The payload is not"),
        ({"schema_version": "v9"}, "buried again: schema_version 'v9' is not supported"),
        ({"plugin": "../x"}, "buried again: plugin_name '../x' is not allowed"),
    ],
)
async def test_what_would_be_buried_again_is_not_replayed(queue, world, bury, published, told):
    letter = await bury(**published)
    before = everything(world)

    with pytest.raises(CannotReplay, match=told):
        await replay(queue, letter, {}, is_forced=True)

    assert everything(world) == before


async def test_a_letter_is_not_replayed_twice(queue, world, bury):
    letter = await bury()
    await replay(queue, letter, {}, is_forced=True)

    with pytest.raises(CannotReplay, match="run r-1 is on again already"):
        await replay(queue, letter, {}, is_forced=True)
    assert await queue.client.xlen(REQUESTS) == 2
