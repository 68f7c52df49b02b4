"""The profile of names and the block [messaging]: the application's words, turned into ours."""

import pytest

from supervisor.configuration import load, origins
from supervisor.errors import SettingsWrong
from supervisor.settings import Settings
from supervisor.streams.keys import Keys


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path):
    """Write crewpool.toml."""
    return (tmp_path / "crewpool.toml").write_text


def problems(**overrides):
    with pytest.raises(SettingsWrong) as told:
        load(**overrides)
    return told.value.problems


def url_of(settings):
    return settings.redis_url.get_secret_value()


# -- names


def test_the_profile_cortex_names_all_streams():
    keys = Keys.of(load(names="cortex"))

    assert keys.request_streams == (
        "cortex:tasks:critical",
        "cortex:tasks:high",
        "cortex:tasks:normal",
        "cortex:tasks:low",
    )
    assert (keys.results, keys.dead_letters) == ("cortex:results", "cortex:tasks:dlq")
    assert keys.messages_to("h") == "cortex:messages:h"
    assert (keys.hosts, keys.host("h")) == ("cortex:heartbeats", "cortex:heartbeats:h")


def test_the_default_profile_is_plugin():
    assert load() == load(names="plugin")
    assert load().requests_stream == "plugin:requests"


def test_each_name_of_a_profile_can_be_set_by_itself(monkeypatch, file):
    file('names = "cortex"\nmessages_stream = "ours:messages"\n')
    monkeypatch.setenv("CREWPOOL_RESULTS_STREAM", "ours:results")

    settings = load()

    assert settings.requests_stream == "cortex:tasks:normal"
    assert (settings.results_stream, settings.messages_stream) == ("ours:results", "ours:messages")
    rows = {row.name: row.origin for row in origins(settings)}
    assert rows["requests_stream"] == "names"
    assert rows["results_stream"] == "environment"
    assert rows["messages_stream"] == "crewpool.toml"


def test_a_profile_that_is_none_is_refused():
    (told,) = problems(names="cortez")

    assert told == (
        "CREWPOOL_NAMES: must be 'plugin' or 'cortex' "
        "(profile that the names of streams are taken from)"
    )


@pytest.mark.parametrize("stream", ["cortex:tasks:low", "cortex:tasks:critical"])
def test_in_the_profile_too_results_are_no_requests(stream):
    assert "must differ" in problems(names="cortex", results_stream=stream)[0]


@pytest.mark.parametrize("name", ["{a}{b}:x", "{}:x", "{{a}}", "a}b{", "{a"])
def test_a_name_with_braces_that_redis_may_read_otherwise_is_refused(name):
    assert "one pair of braces" in problems(requests_stream=name)[0]


# -- the block


def test_the_block_becomes_an_address_and_a_rhythm(file):
    file("""
        [messaging]
        enabled = true
        use_redis = true
        redis_addr = "redis.internal:6380"
        redis_password = "p@ss/w:rd"
        redis_db = 3
        heartbeat_interval = "1m30s"
    """)

    settings = load()

    assert url_of(settings) == "redis://:p%40ss%2Fw%3Ard@redis.internal:6380/3"
    assert settings.heartbeat_every_s == 90
    rows = {row.name: row for row in origins(settings)}
    assert rows["redis_url"].origin == rows["heartbeat_every_s"].origin == "crewpool.toml"
    assert rows["redis_url"].value == "redis://***@redis.internal:6380/3"


def test_its_password_is_shown_nowhere(file):
    file('[messaging]\nredis_addr = "h:1"\nredis_password = "s3cr3t"\n')

    settings = load()

    assert "s3cr3t" not in repr(settings)
    assert not [row for row in origins(settings) if "s3cr3t" in row.value]


def test_redis_url_in_the_environment_wins(monkeypatch, file):
    file('[messaging]\nredis_addr = "h:1"\nredis_db = 2\nheartbeat_interval = 7\n')
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:7000/1")
    monkeypatch.setenv("CREWPOOL_HEARTBEAT_EVERY_S", "3")

    settings = load()

    assert url_of(settings) == "redis://elsewhere:7000/1"
    assert settings.heartbeat_every_s == 3


def test_a_block_without_an_address_leaves_ours(file):
    file("[messaging]\nenabled = true\nheartbeat_interval = 10\n")

    settings = load()

    assert url_of(settings) == url_of(Settings())
    assert settings.heartbeat_every_s == 10


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1m30s", 90), ("1.5h", 5400), ("500ms", 0.5), ("1h0m1s", 3601), (".5s", 0.5)],
)
def test_durations_are_those_of_go(text, seconds):
    assert load(messaging={"heartbeat_interval": text}).heartbeat_every_s == seconds


@pytest.mark.parametrize("value", ["10", "s", "ten seconds", "10 s", "-5s", "0s", 0, -1, "10d", []])
def test_what_is_no_duration_is_refused(value):
    (told,) = problems(messaging={"heartbeat_interval": value})

    assert told.startswith("messaging.heartbeat_interval (in crewpool.toml): ")


@pytest.mark.parametrize("switch", ["enabled", "use_redis"])
def test_without_redis_there_is_no_crewpool(file, switch):
    file(f"[messaging]\n{switch} = false\n")

    (told,) = problems()

    assert told.startswith(f"messaging.{switch} (in crewpool.toml): must be true: crewpool lives")


@pytest.mark.parametrize(
    "address", ["h", "h:", ":6379", "h:0", "h:99999", "redis://h:1", "u:s3cr3t@h:1", "h:1/0", "", 7]
)
def test_an_address_is_host_and_port_and_nothing_else(address):
    (told,) = problems(messaging={"redis_addr": address})

    assert told.startswith("messaging.redis_addr (in crewpool.toml): ")
    assert "s3cr3t" not in told


def test_an_address_of_ipv6_is_one():
    assert url_of(load(messaging={"redis_addr": "[::1]:6379"})) == "redis://[::1]:6379/0"


def test_all_problems_of_the_block_are_told_at_once(file):
    file("""
        workers = 0
        [messaging]
        enabled = false
        redis_db = -1
        redis_adr = "h:1"
    """)

    told = problems()

    assert len(told) == 4
    assert "messaging.redis_adr (in crewpool.toml): no such setting" in told


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ('redis_url = "redis://a:1"', 'redis_addr = "b:2"'),
        ("heartbeat_every_s = 3", "heartbeat_interval = 4"),
    ],
)
def test_the_same_in_both_words_is_refused(file, ours, theirs):
    file(f"{ours}\n[messaging]\n{theirs}\n")

    (told,) = problems()

    assert "both stand in crewpool.toml: keep one of them" in told


@pytest.mark.parametrize("value", ["yes", '{"enabled": true}'])
def test_the_block_stands_in_the_file_and_in_no_variable(monkeypatch, value):
    monkeypatch.setenv("CREWPOOL_MESSAGING", value)

    assert problems()[0].startswith("messaging (in crewpool.toml): ")


def test_a_variable_that_should_be_json_and_is_none_is_a_problem(monkeypatch):
    monkeypatch.setenv("CREWPOOL_RETRY", "never")

    (told,) = problems()

    assert told == 'CREWPOOL_RETRY: must be JSON, such as {"exception": 2}'
