"""Ids of runs are text of the application: what could steer a terminal or forge a line is
refused, all else is kept as it is, and becomes neither a path nor a pattern nor a format.
"""

import json
from dataclasses import dataclass, field

import pytest

from tests.support.redis_world import REQUESTS, RedisWorld
from tests.support.waiting import wait_until
from tests.support.yard import Yard

# Every control character there is, and half of a pair, which is no text at all.
REFUSED = [f"a{chr(n)}b" for n in (*range(0x20), *range(0x7F, 0xA0), 0xD800, 0xDFFF)]
KEPT = [
    *("two words", " ", "ö", "🜁", "x" * 128, "../../../etc/passwd", "/", "."),
    *("*", "?[a-z]", "%s%n", "{0}", "$(id)", "`id`", "';--", '"', "\\", "\\n", "--help", "-"),
    *("null", "0", "true", "crewpool:done:x", "a:b", "{a}b", "a\u202eb", "a\u2028b", "a\ufeffb"),
]


@dataclass
class Seen:
    """What was left when all of them had been published at once."""

    results: dict = field(default_factory=dict)
    letters: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    titles: list = field(default_factory=list)
    log: str = ""
    deaths: list = field(default_factory=list)
    is_clean: bool = False


@pytest.fixture(scope="module")
def seen(any_server, tmp_path_factory):
    any_server.empty()
    world = RedisWorld(any_server.client)
    with Yard(tmp_path_factory.mktemp("ids")) as yard:
        supervisor = yard.start(any_server.url).wait_idle()
        for run_id in REFUSED:
            # As JSON of Python would have it: \\u001b and not the byte.
            world.client.xadd(REQUESTS, {"payload": world.payload(run_id)})
        for run_id in KEPT:
            world.publish(run_id, settings={"text": run_id})
        titles = set()

        def all_done():
            titles.update(supervisor.titles())
            return world.have_results(KEPT) and len(world.dead_letters()) == len(REFUSED)

        wait_until(all_done, 30)
        wait_until(lambda: not world.pending())
        facts = Seen(
            results={result["plugin_run_id"]: result for result in world.results()},
            letters=world.dead_letters(),
            keys=list(world.client.scan_iter(count=1000)),
            titles=sorted(titles),
            log=supervisor.log(),
            deaths=supervisor.log_lines("worker_died"),
        )
        assert len(facts.results) == len(world.results())
        facts.is_clean = supervisor.stop() == 0
    return facts


def test_an_id_with_a_control_character_is_a_dead_letter_and_answers_nobody(seen):
    assert [letter["reason"] for letter in seen.letters] == ["invalid_request"] * len(REFUSED)
    assert not set(REFUSED) & set(seen.results)


def test_its_letter_says_so_and_does_not_repeat_it(seen):
    for letter in seen.letters:
        assert "1 to 128 printable characters" in letter["last_error"]
        assert letter["last_error"].isprintable()


def test_no_key_is_made_of_it(seen):
    assert [
        key for key in seen.keys if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in key)
    ] == []


@pytest.mark.parametrize("run_id", KEPT)
def test_any_other_id_comes_back_as_it_went_in(seen, run_id):
    result = seen.results[run_id]

    assert result["status"] == "completed"
    assert run_id in json.loads(result["output"])["raw"]


def test_nothing_of_them_can_steer_a_terminal(seen):
    odd = [char for char in seen.log if char != "\n" and not char.isascii()]
    assert odd == []
    assert [char for char in seen.log if ord(char) < 32 and char != "\n"] == []
    assert all(title.isascii() and title.isprintable() for title in seen.titles)


def test_the_pool_does_not_notice(seen):
    assert seen.deaths == []
    assert seen.is_clean
