"""`crewpool dlq`: what was buried, started over or thrown away, and what is refused."""

import json
import re

import pytest

from tests.acceptance.conftest import NOWHERE, permit
from tests.support.redis_world import DEAD_LETTERS, REQUESTS
from tests.support.waiting import wait_until

HOSTILE = "\x1b]0;owned\x07 [red]x[/red]"


def everything(world):
    """Return all keys and values. SCAN has no order."""
    return sorted(world.everything().splitlines())


def add_letter(world, run_id, plugin="echoes", cause="crash", age_s=0, **more):
    """Leave a dead letter as a supervisor writes it; return its id."""
    seconds, micros = world.client.time()
    fields = {
        "payload": world.payload(run_id, plugin),
        "reason": "attempts_exhausted",
        "class": cause,
        "attempts": 3,
        "last_error": "Worker died",
        **more,
    }
    letter_id = "*" if not age_s else f"{(seconds - age_s) * 1000 + micros // 1000}-0"
    return world.client.xadd(DEAD_LETTERS, fields, id=letter_id)


@pytest.fixture
def buried(start_supervisor, redis_server, world):
    """A supervisor, and the id of a run of it that raised and was buried."""
    start_supervisor(redis_server.url)
    world.publish("r-raised", "raises", {"text": "no luck", "_llm_api_key": "sk-not-to-be-seen"})
    wait_until(lambda: world.result("r-raised"))
    return "r-raised"


def test_what_a_supervisor_buried_is_listed_and_shown(crewpool, redis_server, world, buried):
    url = redis_server.url
    listed = crewpool("dlq", "list", REDIS_URL=url)
    (data,) = json.loads(crewpool("dlq", "list", "--json", REDIS_URL=url).stdout)
    shown = crewpool("dlq", "show", data["id"], REDIS_URL=url)
    whole = json.loads(crewpool("dlq", "show", buried, "--json", REDIS_URL=url).stdout)

    assert listed.returncode == 0
    assert re.search(
        rf"^{data['id']} +\ds +exception +exception +1 +raises +r-raised +.*no luck",
        listed.stdout,
        re.MULTILINE,
    )
    assert (data["run_id"], data["plugin"], data["class"]) == (buried, "raises", "exception")
    assert shown.returncode == 0
    assert re.search(r"^run +r-raised$", shown.stdout, re.MULTILINE)
    assert re.search(r"^last_error +.*no luck", shown.stdout, re.MULTILINE)
    assert '"_llm_api_key": "***"' in shown.stdout
    assert "Traceback (most recent call last)" in shown.stdout
    assert whole["payload"]["settings"]["text"] == "no luck"
    assert "no luck" in whole["stack"]
    assert "sk-not-to-be-seen" not in listed.stdout + shown.stdout + json.dumps(whole)


def test_a_forced_replay_runs_once_more_with_its_credentials_and_a_new_count(
    crewpool, redis_server, world, buried
):
    url = redis_server.url
    refused = crewpool("dlq", "replay", buried, REDIS_URL=url)
    assert refused.returncode == 1
    assert "run r-raised has its result, and the application will see a second" in refused.stderr
    assert re.search(r"\nNext: crewpool dlq replay \d+-\d --force\n", refused.stderr)
    assert len(world.results(buried)) == 1

    replayed = crewpool("dlq", "replay", buried, "--force", REDIS_URL=url)

    assert replayed.returncode == 0, replayed.stderr
    assert re.fullmatch(r"\d+-\d  replayed as run r-raised\n", replayed.stdout)
    wait_until(lambda: len(world.results(buried)) == 2)
    assert [result["meta"]["attempt"] for result in world.results(buried)] == [1, 1]
    (letter,) = world.dead_letters()
    assert letter["attempts"] == "1"
    payload = json.loads(world.entries()[-1][1]["payload"])
    assert payload["settings"]["_llm_api_key"] == "sk-not-to-be-seen"


def test_a_replay_that_lacks_credentials_says_how_to_give_them(crewpool, redis_server, world):
    settings = {"_llm_api_key": "***", "text": "x"}
    add_letter(world, "r-1", payload=world.payload("r-1", settings=settings))
    url = redis_server.url

    refused = crewpool("dlq", "replay", "r-1", REDIS_URL=url)
    given = ("dlq", "replay", "r-1", "--secret", "_llm_api_key=WORD")
    replayed = crewpool(*given, REDIS_URL=url, WORD="sk-1")

    assert refused.returncode == 1
    assert "its entry is gone, and the letter has _llm_api_key masked" in refused.stderr
    assert "Next: the same command with --secret _llm_api_key=VARIABLE" in refused.stderr
    assert replayed.returncode == 0, replayed.stderr
    ((_, fields),) = world.entries()
    assert json.loads(fields["payload"])["settings"] == {"_llm_api_key": "sk-1", "text": "x"}
    assert "sk-1" not in replayed.stdout + replayed.stderr
    assert world.dead_letters() == []


def test_many_are_replayed_by_filter_the_oldest_first(crewpool, redis_server, world):
    for number, cause in enumerate(["crash", "timeout", "crash", "crash"]):
        add_letter(world, f"r-{number}", cause=cause, age_s=100 - number)
    world.client.set("crewpool:done:r-2", "1-1")

    told = crewpool("dlq", "replay", "--class", "crash", REDIS_URL=redis_server.url)

    assert told.returncode == 1, "one of them was refused"
    assert re.findall(r"replayed as run (\S+)", told.stdout) == ["r-0", "r-3"]
    assert "not replayed: run r-2 has its result" in told.stderr
    assert "2 of 3 dead letters replayed." in told.stderr
    assert "Next: --force, if the application can take a second result" in told.stderr
    runs = [json.loads(fields["payload"])["plugin_run_id"] for _, fields in world.entries()]
    assert runs == ["r-0", "r-3"]
    assert len(world.dead_letters()) == 2


def test_with_json_a_replay_tells_each_letter(crewpool, redis_server, world):
    first, second = add_letter(world, "r-1"), add_letter(world, "r-2")
    world.client.set("crewpool:done:r-2", "1-1")

    told = crewpool("dlq", "replay", first, second, "--json", REDIS_URL=redis_server.url)

    published, refused = json.loads(told.stdout)
    assert told.returncode == 1
    assert (published["id"], published["run_id"], published["outcome"]) == (
        *(first, "r-1", "published"),
    )
    assert published["entry_id"] == world.entries()[0][0]
    assert (refused["id"], refused["run_id"], refused["outcome"]) == (second, "r-2", "refused")
    assert "second" in refused["why"]


def test_where_there_is_no_room_letters_stay(crewpool, redis_server, world):
    for number in range(3):
        add_letter(world, f"r-{number}")
    asked = {"REDIS_URL": redis_server.url, "CREWPOOL_MAX_WAITING": 2}

    told = crewpool("dlq", "replay", "--all", **asked)
    alone = crewpool("dlq", "replay", "--all", **asked)

    assert told.returncode == alone.returncode == 1
    assert "2 of 3 dead letters replayed." in told.stderr
    assert "2 runs wait, and at most 2 may" in told.stderr
    assert "Run r-2 was not published" in alone.stderr
    assert "Next: publish it later" in alone.stderr
    assert len(world.dead_letters()) == 1
    assert world.client.xlen(REQUESTS) == 2


def test_a_list_is_filtered_and_cut(crewpool, redis_server, world):
    for number in range(5):
        add_letter(world, f"r-{number}", plugin=("a", "b")[number % 2], age_s=(5 - number) * 1000)

    def runs(*options):
        asked = crewpool("dlq", "list", *options, "--json", REDIS_URL=redis_server.url)
        return [letter["run_id"] for letter in json.loads(asked.stdout)], asked.stderr

    assert runs()[0] == ["r-4", "r-3", "r-2", "r-1", "r-0"]
    assert runs("--plugin", "b")[0] == ["r-3", "r-1"]
    assert runs("--older", "1h")[0] == ["r-1", "r-0"]
    assert runs("--newer", "1h", "--plugin", "a")[0] == ["r-4", "r-2"]
    cut, told = runs("--limit", 2)
    assert cut == ["r-4", "r-3"]
    assert "There are more than 2" in told


def test_purging_wants_to_be_confirmed(crewpool, redis_server, world):
    for number in range(3):
        add_letter(world, f"r-{number}", cause=("crash", "timeout")[number % 2])
    url = redis_server.url

    refused = crewpool("dlq", "purge", "--class", "crash", REDIS_URL=url)
    assert refused.returncode == 2
    assert "Nothing was removed: 2 dead letters would be." in refused.stderr
    assert "Next: --yes" in refused.stderr
    assert len(world.dead_letters()) == 3

    code, drawn = crewpool.on_terminal("dlq", "purge", "--all", REDIS_URL=url, typed="n\n")
    assert code == 2
    assert "Remove 3 dead letters for good? [y/N]" in drawn
    assert len(world.dead_letters()) == 3

    code, drawn = crewpool.on_terminal("dlq", "purge", "r-1", REDIS_URL=url, typed="y\n")
    assert code == 0
    assert "1 dead letter removed." in drawn

    purged = crewpool("dlq", "purge", "--class", "crash", "--yes", REDIS_URL=url)
    assert (purged.returncode, purged.stdout) == (0, "2 dead letters removed.\n")
    none = crewpool("dlq", "purge", "--all", "--json", REDIS_URL=url)
    assert json.loads(none.stdout) == {"purged": 0}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["list", "--class", "bad luck"], 2, "--class bad luck: there is no such class"),
        (["list", "--older", "3"], 2, "--older 3: must be a number and a unit"),
        (["list", "--older", "2h", "--newer", "1h"], 2, "nothing is older than 2h and newer"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["show"], 2, "Missing argument"),
        (["show", "1-1"], 1, "There is no dead letter 1-1."),
        (["show", "r-\x1b[2Jnone"], 1, "There is no dead letter r-[2Jnone."),
        (["replay"], 2, "Say which: ids, or filters, or --all"),
        (["replay", "r-1", "--all"], 2, "Say which"),
        (["replay", "--all", "--class", "crash"], 2, "Say which"),
        (["replay", "r-1", "r-none"], 1, "There is no dead letter r-none."),
        (["replay", "r-1", "--secret", "key=HOME"], 2, "only keys that begin with _"),
        (["replay", "r-1", "--secret", "_key=NOT_SET"], 2, "the variable NOT_SET is not set"),
        (["purge", "--yes"], 2, "Say which"),
        (["purge", "1-1", "--yes"], 1, "There is no dead letter 1-1."),
        (["purge", "--all", "--older", "x", "--yes"], 2, "--older x: must be"),
    ],
)
def test_what_cannot_be_asked_changes_nothing(crewpool, redis_server, world, arguments, code, told):
    add_letter(world, "r-1")
    before = everything(world)

    refused = crewpool("dlq", *arguments, REDIS_URL=redis_server.url)

    assert refused.returncode == code, refused.stderr
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr
    assert everything(world) == before


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "1-1"], ["replay", "--all"], ["purge", "--all", "--yes"]]
)
def test_when_redis_is_away_the_usual_sentence_is_said(crewpool, arguments):
    refused = crewpool("dlq", *arguments, REDIS_URL=NOWHERE)

    assert refused.returncode == 1
    assert "is not reachable" in refused.stderr


def test_whoever_may_not_is_told_so(crewpool, own_server):
    permit(own_server.client, "application")

    refused = crewpool("dlq", "list", REDIS_URL=own_server.url.replace("//", "//application:word@"))

    assert refused.returncode == 1
    assert "Redis refused" in refused.stderr


def test_nothing_to_show_is_no_failure(crewpool, redis_server):
    url = redis_server.url

    assert "No dead letter is there." in crewpool("dlq", "list", REDIS_URL=url).stderr
    assert "No dead letter fits." in crewpool("dlq", "replay", "--all", REDIS_URL=url).stderr
    assert json.loads(crewpool("dlq", "list", "--json", REDIS_URL=url).stdout) == []


def test_what_hostile_hands_wrote_does_not_steer_a_terminal(crewpool, redis_server, world):
    payload = json.dumps({"plugin_run_id": HOSTILE, "plugin_name": HOSTILE, HOSTILE: HOSTILE})
    more = {"class": HOSTILE, "last_error": HOSTILE, "stack": HOSTILE, HOSTILE: HOSTILE}
    letter_id = add_letter(world, "", payload=payload, reason=HOSTILE, attempts=HOSTILE, **more)
    add_letter(world, "", payload=HOSTILE)

    for arguments in (["list"], ["show", letter_id], ["replay", letter_id, "--force"]):
        _, drawn = crewpool.on_terminal("dlq", *arguments, columns=200, REDIS_URL=redis_server.url)
        assert "\x1b]0;" not in drawn
        assert "\x07" not in drawn
        assert "[red]x[/red]" in drawn or arguments[0] == "replay"
