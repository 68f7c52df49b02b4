"""`crewpool submit`: what is published, what is refused, and what is said when nobody knows."""

import json
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.conftest import NOWHERE, permit
from tests.support.proxy import Proxy
from tests.support.redis_world import REQUESTS, STREAMS
from tests.support.waiting import wait_until

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def published(client, stream=REQUESTS):
    """Return the entries of a request stream with their payloads decoded."""
    return [
        fields | {"payload": json.loads(fields["payload"])} for _, fields in client.xrange(stream)
    ]


@pytest.fixture
def redis_client(redis_server):
    return redis_server.client


def test_the_run_id_is_printed_and_the_entry_has_the_three_fields(
    crewpool, redis_server, redis_client
):
    submitted = crewpool(
        *("submit", "echoes", "--set", "text=hi", "--user", 2**64 - 1),
        REDIS_URL=redis_server.url,
    )

    assert submitted.returncode == 0
    assert re.fullmatch(UUID + r"\n", submitted.stdout)
    (entry,) = published(redis_client)
    assert entry["payload"] == {
        "plugin_run_id": submitted.stdout.strip(),
        "plugin_name": "echoes",
        "user_id": 2**64 - 1,
        "settings": {"text": "hi"},
    }
    assert entry["schema_version"] == "v1"
    assert re.fullmatch(r"\d{10}", entry["published_at"])
    assert set(entry) == {"payload", "published_at", "schema_version"}


@pytest.mark.parametrize(
    ("priority", "stream"), list(zip(("critical", "high", "normal", "low"), STREAMS, strict=True))
)
def test_each_priority_has_its_stream(crewpool, redis_server, redis_client, priority, stream):
    crewpool("submit", "echoes", "--priority", priority, REDIS_URL=redis_server.url)

    assert [name for name in STREAMS if redis_client.xlen(name)] == [stream]


def test_settings_come_from_file_pairs_and_variables(crewpool, redis_server, redis_client):
    (crewpool.folder / "base.json").write_text('{"limit": 1, "mail": {"to": "a@example.com"}}')

    submitted = crewpool(
        *("submit", "echoes", "--settings", "@base.json", "--set", "limit=3"),
        *("--set", "topics=science", "--set", "topics=art", "--set", "mail.cc=b@example.com"),
        *("--secret", "_llm_api_key=MY_KEY"),
        REDIS_URL=redis_server.url,
        MY_KEY="sk-not-to-be-seen",
    )

    assert submitted.returncode == 0, submitted.stderr
    assert published(redis_client)[0]["payload"]["settings"] == {
        "limit": 3,
        "mail": {"to": "a@example.com", "cc": "b@example.com"},
        "topics": ["science", "art"],
        "_llm_api_key": "sk-not-to-be-seen",
    }
    assert "sk-not-to-be-seen" not in submitted.stdout + submitted.stderr


def test_a_credential_typed_as_a_pair_is_warned_about_and_not_shown(crewpool, redis_server):
    submitted = crewpool(
        "submit", "echoes", "--set", "_llm_api_key=sk-typed", REDIS_URL=redis_server.url
    )

    assert submitted.returncode == 0
    assert "_llm_api_key stands in your shell's history now" in submitted.stderr
    assert "sk-typed" not in submitted.stdout + submitted.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["../x"], "plugin_name '../x' is not allowed"),
        (["echoes", "--settings", "[1]"], "--settings must be a JSON object"),
        (["echoes", "--settings", "@nowhere.json"], "--settings @nowhere.json cannot be read"),
        (["echoes", "--set", "novalue"], "--set wants k=v"),
        (["echoes", "--secret", "key=HOME"], "only keys that begin with _"),
        (["echoes", "--secret", "_key=NOT_SET"], "the variable NOT_SET is not set"),
        (["echoes", "--set", "a=1", "--set", "a.b=2"], "needs 'a' to be an object"),
        (["echoes", "--run-id", "x" * 200], "plugin_run_id must be"),
        (["echoes", "--user", "-1"], "--user"),
        (["echoes", "--timeout", "3"], "--timeout is the longest --wait"),
        (["echoes", "--priority", "urgent"], "'urgent' is not one of"),
        (["echoes", "--in", "10"], "--in 10: must be a number and a unit"),
        (["echoes", "--in", "0s"], "more than nothing"),
        (["echoes", "--in", ""], "must be a number and a unit"),
        (["echoes", "--at", "tomorrow"], "--at tomorrow: must be 2026-11-22T18:00"),
        (["echoes", "--at", "2020-01-01T00:00:00Z"], "ago: nothing can be started in the past"),
        (["echoes", "--at", "1577836800"], "ago: nothing can be started in the past"),
        (["echoes", "--at", "9999-01-01"], "more than 366 days away"),
        (["echoes", "--in", "1h", "--at", "2100-01-01"], "both say when"),
        (["echoes", "--unique-for", "forever"], "--unique-for forever: must be"),
        (["echoes", "--set", f"text={'x' * 100_000}"], "at most 1024 are allowed"),
    ],
)
def test_what_cannot_be_a_request_is_exit_code_2_and_not_published(
    crewpool, redis_server, redis_client, arguments, told
):
    refused = crewpool(
        "submit", *arguments, REDIS_URL=redis_server.url, CREWPOOL_MAX_PAYLOAD_BYTES=1024
    )

    assert refused.returncode == 2
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr
    assert redis_client.keys("*") == []


def test_a_lost_reply_is_made_good_without_a_second_entry(crewpool, redis_server, world):
    # The script is known to the server by then, so that the lost reply is its own.
    crewpool("submit", "echoes", REDIS_URL=redis_server.url)
    with Proxy(redis_server) as proxy:
        proxy.lose_reply_to("evalsha")
        submitted = crewpool("submit", "echoes", "--run-id", "r-lost", REDIS_URL=proxy.url)

    assert (submitted.returncode, submitted.stdout) == (0, "r-lost\n"), submitted.stderr
    assert proxy.lost == 1
    assert world.client.xlen(REQUESTS) == 2


def test_when_nobody_knows_the_same_id_is_safe(crewpool, redis_server, start_supervisor, world):
    crewpool("submit", "echoes", "--run-id", "r-first", REDIS_URL=redis_server.url)
    with Proxy(redis_server) as proxy:
        proxy.lose_reply_to("evalsha", times=3)
        doubtful = crewpool("submit", "echoes", "--run-id", "r-lost", REDIS_URL=proxy.url)

    assert doubtful.returncode == 1
    assert "Whether run r-lost was published is not known" in doubtful.stderr
    assert "Next: the same command with --run-id r-lost" in doubtful.stderr
    assert world.client.xlen(REQUESTS) == 2

    start_supervisor()
    again = crewpool("submit", "echoes", "--run-id", "r-lost", "--wait", REDIS_URL=redis_server.url)
    assert again.returncode == 0, again.stderr
    wait_until(lambda: world.result("r-first"), what="the other run has ended")
    wait_until(lambda: not world.pending(), what="nothing is pending")
    world.assert_nothing_pending()
    assert len(world.results("r-lost")) == 1


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--in", lambda _: "2h"),
        ("--at", lambda at: f"{at.timestamp():.0f}"),
        ("--at", lambda at: at.astimezone(UTC).isoformat()),
        ("--at", lambda at: at.replace(tzinfo=None).isoformat()),
    ],
    ids=["a length", "unix time", "with a zone", "local time"],
)
def test_a_delayed_run_is_said_to_be_and_stands_in_no_stream(
    crewpool, redis_server, world, option, told
):
    value = told(datetime.now().astimezone() + timedelta(hours=2))
    submitted = crewpool(
        *("submit", "echoes", "--run-id", "r-later", option, value), REDIS_URL=redis_server.url
    )

    assert (submitted.returncode, submitted.stdout) == (0, "r-later\n")
    assert re.search(r"Run r-later is delayed until 20\S+ \S+ \(in 1h 59m\)", submitted.stderr)
    assert not world.client.exists(*STREAMS)
    due_ms = world.client.zscore("crewpool:delayed", "r-later")
    assert due_ms == pytest.approx((time.time() + 7200) * 1000, abs=60_000)


@pytest.mark.usefixtures("supervisor")
def test_a_delayed_run_is_waited_for_and_not_started_before(crewpool, redis_server, world):
    asked = time.time()
    waited = crewpool(
        *("submit", "echoes", "--run-id", "r-soon", "--in", "1.5s", "--wait"),
        REDIS_URL=redis_server.url,
    )

    assert waited.returncode == 0, waited.stderr
    assert "delayed · until 20" in waited.stderr
    wait_until(lambda: world.record("r-soon").get("started_at"))
    assert float(world.record("r-soon")["started_at"]) >= asked + 1.5


def test_beyond_the_cap_it_is_refused_with_what_to_do(crewpool, redis_server, world):
    asked = {"REDIS_URL": redis_server.url, "CREWPOOL_MAX_WAITING": 1}
    assert crewpool("submit", "echoes", **asked).returncode == 0

    refused = crewpool("submit", "echoes", "--run-id", "r-full", **asked)

    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "Run r-full was not published: 1 runs wait, and at most 1 may" in refused.stderr
    assert "\nNext: publish it later" in refused.stderr
    assert world.client.xlen(REQUESTS) == 1
    assert world.record("r-full") == {}


def test_a_second_unique_request_gets_the_id_of_the_first(crewpool, redis_server, world):
    asked = ("submit", "echoes", "--set", "text=x", "--user", 7, "--unique-for", "30m")
    url = redis_server.url
    first = crewpool(*asked, "--secret", "_key=WORD", REDIS_URL=url, WORD="one").stdout.strip()

    second = crewpool(*asked, "--secret", "_key=WORD", REDIS_URL=url, WORD="two")
    told = json.loads(crewpool(*asked, "--run-id", "r-2", "--json", REDIS_URL=url).stdout)
    other = crewpool(*asked[:-2], "--set", "text=y", "--unique-for", "30m", REDIS_URL=url)

    assert (second.returncode, second.stdout.strip()) == (0, first)
    assert f"Nothing was published: run {first} has the same plugin" in second.stderr
    assert (told["run_id"], told["outcome"], told["asked_run_id"]) == (first, "unique", "r-2")
    assert other.stdout.strip() != first
    assert world.client.xlen(REQUESTS) == 2


@pytest.mark.usefixtures("supervisor")
def test_who_waits_for_a_unique_request_waits_for_the_first(crewpool, redis_server, world):
    asked = ("submit", "sleeps", "--set", "seconds=120", "--unique-for", "30m")
    url = redis_server.url
    first = crewpool(*asked, REDIS_URL=url).stdout.strip()
    waiting = crewpool.start(*asked, "--wait", "--json", REDIS_URL=url)
    waiting.wait_for(f"Nothing was published: run {first} has the same plugin")

    crewpool("cancel", first, REDIS_URL=url)

    assert waiting.wait_exit() == 1
    assert json.loads(waiting.out)["plugin_run_id"] == first
    after = crewpool(*asked, REDIS_URL=url)
    assert after.stdout.strip() != first, "the end of the run made room"
    assert after.stderr == ""


@pytest.mark.usefixtures("supervisor")
def test_json_says_what_became_of_it(crewpool, redis_server, world):
    def told(*arguments):
        asked = crewpool("submit", "echoes", *arguments, "--json", REDIS_URL=redis_server.url)
        return json.loads(asked.stdout)

    published = told("--run-id", "r-1")
    wait_until(lambda: world.result("r-1"))
    delayed = told("--run-id", "r-2", "--in", "1h")

    assert (published["outcome"], published["run_id"]) == ("published", "r-1")
    assert published["entry_id"] == world.entries()[0][0]
    assert delayed["outcome"] == "delayed"
    assert delayed["due_at"] == pytest.approx(time.time() + 3600, abs=60)
    assert told("--run-id", "r-2")["outcome"] == "known"
    assert told("--run-id", "r-2")["state"] == "delayed"
    assert (told("--run-id", "r-1")["outcome"], told("--run-id", "r-1")["state"]) == (
        *("ended", "completed"),
    )


def test_the_applications_user_may_publish_plainly_and_nothing_else(crewpool, own_server):
    permit(own_server.client, "application")
    url = own_server.url.replace("//", "//application:word@")

    plain = crewpool("submit", "echoes", "--priority", "high", REDIS_URL=url)
    later = crewpool("submit", "echoes", "--in", "1h", REDIS_URL=url)

    assert plain.returncode == 0, plain.stderr
    assert own_server.client.xlen("plugin:requests:high") == 1
    assert later.returncode == 1
    assert "Redis refused EVALSHA" in later.stderr


def test_nothing_is_published_when_redis_is_away(crewpool):
    refused = crewpool("submit", "echoes", "--wait", REDIS_URL=NOWHERE)

    assert refused.returncode == 1
    assert "is not reachable" in refused.stderr
    assert "not known" not in refused.stderr
