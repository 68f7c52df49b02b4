"""`crewpool submit`: what is published, what is refused, and what is said when nobody knows."""

import json
import re

import pytest

from tests.acceptance.conftest import NOWHERE
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
        *("submit", "echoes", "--set", "text=hi", "--user-id", 2**64 - 1),
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
        (["echoes", "--user-id", "-1"], "--user-id"),
        (["echoes", "--timeout", "3"], "--timeout is the longest --wait"),
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
    assert not redis_client.exists(*STREAMS)


def test_a_lost_reply_is_not_repeated_and_the_same_id_is_safe(
    crewpool, redis_server, start_supervisor, world
):
    with Proxy(redis_server) as proxy:
        proxy.lose_reply_to("xadd")
        doubtful = crewpool("submit", "echoes", "--run-id", "r-lost", REDIS_URL=proxy.url)

    assert doubtful.returncode == 1
    assert "Whether run r-lost was published is not known" in doubtful.stderr
    assert "Next: the same command with --run-id r-lost" in doubtful.stderr
    assert world.client.xlen(REQUESTS) == 1

    start_supervisor()
    again = crewpool("submit", "echoes", "--run-id", "r-lost", "--wait", REDIS_URL=redis_server.url)
    assert again.returncode == 0, again.stderr
    wait_until(lambda: not world.pending(), what="nothing is pending")
    world.assert_nothing_pending()
    assert len(world.results("r-lost")) == 1


def test_nothing_is_published_when_redis_is_away(crewpool):
    refused = crewpool("submit", "echoes", "--wait", REDIS_URL=NOWHERE)

    assert refused.returncode == 1
    assert "is not reachable" in refused.stderr
    assert "not known" not in refused.stderr
