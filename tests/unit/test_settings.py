"""Settings: environment over file over defaults, every problem at once, no secret shown."""

from urllib.parse import urlencode

import pytest

from supervisor.addresses import passwords_in, without_password
from supervisor.configuration import load, origins, unknown_variables
from supervisor.errors import SettingsWrong
from supervisor.settings import Settings
from worker.policies import Retry


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """No crewpool.toml but the test's own."""
    monkeypatch.chdir(tmp_path)


def problems(**overrides):
    with pytest.raises(SettingsWrong) as told:
        load(**overrides)
    return told.value.problems


def test_without_anything_the_defaults_hold():
    settings = load()

    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"
    assert (settings.workers, settings.http_host, settings.http_port) == (2, "127.0.0.1", 8000)
    assert settings.crew_timeout_s == 300
    assert settings.host_name


def test_the_three_fixed_names_are_read(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:7000/1")
    monkeypatch.setenv("PLUGIN_DIR", "somewhere")
    monkeypatch.setenv("CREW_TIMEOUT_SECONDS", "2")

    settings = load()

    assert settings.redis_url.get_secret_value() == "redis://elsewhere:7000/1"
    assert str(settings.plugin_dir) == "somewhere"
    assert settings.crew_timeout_s == 2


def test_environment_beats_file_beats_default(monkeypatch, tmp_path):
    (tmp_path / "crewpool.toml").write_text("workers = 5\nhttp_port = 9000\n")
    monkeypatch.setenv("CREWPOOL_WORKERS", "7")

    settings = load()

    assert (settings.workers, settings.http_port, settings.max_attempts) == (7, 9000, 3)
    rows = {row.name: row.origin for row in origins(settings)}
    assert (rows["workers"], rows["http_port"], rows["max_attempts"]) == (
        "environment",
        "crewpool.toml",
        "default",
    )


def test_an_empty_variable_is_no_value(monkeypatch):
    monkeypatch.setenv("CREWPOOL_WORKERS", "")

    assert load().workers == 2


def test_another_file_can_be_named(monkeypatch, tmp_path):
    (tmp_path / "other.toml").write_text("workers = 3")
    monkeypatch.setenv("CREWPOOL_CONFIG", str(tmp_path / "other.toml"))

    assert load().workers == 3


def test_a_file_that_is_named_and_not_there_is_a_problem(monkeypatch):
    monkeypatch.setenv("CREWPOOL_CONFIG", "nowhere.toml")

    assert problems() == ["CREWPOOL_CONFIG names nowhere.toml, which is no file"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "crewpool.toml").write_text("workers = = 3")

    assert "crewpool.toml cannot be read" in problems()[0]


def test_a_misspelt_key_in_the_file_is_a_problem(tmp_path):
    (tmp_path / "crewpool.toml").write_text("wrokers = 3")

    assert problems() == ["wrokers (in crewpool.toml): no such setting"]


def test_all_problems_are_told_at_once(monkeypatch):
    monkeypatch.setenv("CREWPOOL_WORKERS", "many")
    monkeypatch.setenv("CREW_TIMEOUT_SECONDS", "-1")
    monkeypatch.setenv("REDIS_URL", "http://somewhere")

    told = problems()

    assert len(told) == 3
    assert any(line.startswith("CREWPOOL_WORKERS:") for line in told)
    assert any(line.startswith("CREW_TIMEOUT_SECONDS:") for line in told)
    assert any(line.startswith("REDIS_URL: must begin with redis://") for line in told)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("workers", 0),
        ("workers", 100_000),
        ("http_port", 70_000),
        ("crew_timeout_s", "inf"),
        ("crew_timeout_s", "nan"),
        ("crew_timeout_s", 0),
        ("lease_s", 0),
        ("max_attempts", 0),
        ("requests_stream", "has blank"),
        ("requests_stream", ""),
        ("requests_group", "a\nb"),
        ("log_level", "LOUD"),
        # Above what a frame between supervisor and worker can carry.
        ("max_payload_bytes", 20_000_000),
        ("max_output_bytes", 20_000_000),
    ],
)
def test_values_that_cannot_work_are_refused(field, value):
    (told,) = problems(**{field: value})

    assert field.upper().split("_")[0] in told.upper()


def test_a_lease_must_survive_one_lost_renewal():
    assert "half of lease_s" in problems(lease_s=5, renew_every_s=4)[0]


def test_streams_must_differ():
    assert "must differ" in problems(results_stream="plugin:requests")[0]


@pytest.mark.parametrize("stream", ["plugin:requests:low", "plugin:requests:critical"])
def test_a_stream_must_not_be_one_of_the_priorities(stream):
    """Results would be taken for requests, and dead letters would come back to life."""
    assert "must differ" in problems(results_stream=stream)[0]
    assert "must differ" in problems(dead_letters_stream=stream)[0]


def test_a_password_is_shown_nowhere(monkeypatch):
    for url in (
        "http://user:s3cr3t@host",
        "redis//:s3cr3t@host",
        "s3cr3t",
    ):
        monkeypatch.setenv("REDIS_URL", url)
        assert "s3cr3t" not in str(SettingsWrong(problems()))

    monkeypatch.setenv("REDIS_URL", "rediss://user:s3cr3t@host:6380/0?password=s3cr3t")
    settings = load()
    assert "s3cr3t" not in repr(settings)
    assert not [row for row in origins(settings) if "s3cr3t" in row.value]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@h", "redis://***@h"),
        ("redis://u:p@h/0?db=1", "redis://***@h/0?db=1"),
        ("redis://u:p@ss@h", "redis://***@h"),
        ("redis://u:p/w@h", "redis://***@h"),
        ("unix:///run/r.sock?db=1&password=p", "unix:///run/r.sock?db=1&password=***"),
        ("redis+sentinel://u:p@a:1,b:2/main/0", "redis+sentinel://***@a:1,b:2/main/0"),
        (
            "rediss+sentinel://:p@a:1,b:2/m?sentinel_password=q@r&ssl_password=s",
            "rediss+sentinel://***@a:1,b:2/m?sentinel_password=***&ssl_password=***",
        ),
        ("redis+cluster://u:p@a:1,b:2", "redis+cluster://***@a:1,b:2"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


def test_all_passwords_of_an_address_are_known_as_they_are():
    url = "redis+sentinel://u:p%40q@a:1,b:2/m?sentinel_password=r%20s&password=t"

    assert passwords_in(url) == ["p@q", "t", "r s"]
    assert passwords_in("redis://h:1/0") == []
    assert passwords_in("redis://[::1") == []


def test_files_for_tls_are_for_encrypted_addresses(monkeypatch):
    assert "without TLS" in problems(redis_ca_file="ca.pem")[0]
    assert "needs redis_cert_file" in problems(redis_url="rediss://h", redis_key_file="k.pem")[0]


def test_files_for_tls_stand_among_the_options_of_the_address(tmp_path):
    settings = load(redis_url="rediss://h:1/0?protocol=2", redis_ca_file="my ca.pem")

    option = urlencode({"ssl_ca_certs": tmp_path / "my ca.pem"})
    assert settings.redis_address == f"rediss://h:1/0?protocol=2&{option}"
    assert load(redis_url="rediss://h:1").redis_address == "rediss://h:1"


def test_lists_are_words(monkeypatch):
    monkeypatch.setenv("CREWPOOL_PRELOAD", "json, csv\nhtml")
    assert load().preload == ("json", "csv", "html")

    monkeypatch.setenv("CREWPOOL_PRELOAD", " json ")
    assert load().preload == ("json",)


def test_a_host_name_is_fit_for_the_name_of_a_consumer():
    assert load(host_name="a b/c\nd" * 30).host_name == ("a-b-c-d" * 30)[:64]


def test_misspelt_variables_are_hinted_at_and_those_of_kubernetes_are_not():
    environ = {
        "CREWPOOL_WROKERS": "1",
        "CREWPOOL_WORKERS": "1",
        "CREWPOOL_SERVICE_HOST": "10.0.0.1",
        "CREWPOOL_PORT": "tcp://10.0.0.1:80",
        "CREWPOOL_PORT_80_TCP": "x",
        "OTHER": "x",
    }

    assert unknown_variables(environ) == ["CREWPOOL_WROKERS"]


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_problem(monkeypatch):
    monkeypatch.setenv("CREWPOOL_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("CREWPOOL_SERVICE_HOST", "10.0.0.1")

    assert load().workers == 2


def test_every_setting_is_described_by_its_name_or_its_text():
    for name, field in Settings.model_fields.items():
        assert field.description or name.endswith(("_stream", "_group", "_level")), name


def test_retries_are_said_as_in_plugin_yaml_in_the_file_and_in_the_environment(
    monkeypatch, tmp_path
):
    """The environment adds to the file: what it does not name stays."""
    (tmp_path / "crewpool.toml").write_text(
        '[retry.exception]\nattempts = 2\nbackoff_s = 5\n[retry]\ncrash = "none"\n'
    )
    in_file = load()
    monkeypatch.setenv("CREWPOOL_RETRY", '{"exception": 4, "timeout": {"attempts": 2}}')
    in_both = load()

    assert in_file.retry_of("exception") == Retry(attempts=2, backoff_s=5)
    assert in_file.retry_of("crash").attempts == 1
    assert in_both.retry_of("exception").attempts == 4
    assert in_both.retry_of("timeout").attempts == 2
    assert in_both.retry_of("crash").attempts == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"excepton": 2}', "unknown key retry.excepton, did you mean exception?"),
        ('{"crash": {"attempts": 0}}', "retry.crash.attempts: must be at least 1"),
        ('{"crash": {"backof_s": 1}}', "unknown key retry.crash.backof_s, did you mean backoff_s?"),
        ("7", "retry: must hold keys and values"),
        ('{"invalid": 2}', "retry.invalid: a run that was invalid is never started again"),
    ],
)
def test_what_is_wrong_with_retries_is_told_with_its_key(monkeypatch, text, told):
    monkeypatch.setenv("CREWPOOL_RETRY", text)

    assert told in problems()[0]
