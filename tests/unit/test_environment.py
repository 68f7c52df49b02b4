"""What of our environment a worker may see, and what one plugin may see beside that."""

import os

import pytest

from supervisor.errors import SecretUnreadable
from supervisor.pool.environment import Environment, fits
from supervisor.worker_settings import WORKER_ENV
from worker.crew.lockdown import FORCED, lock_down

URL = "redis://:s3cr3t@redis.internal:6379/0"
OURS = {"CREWPOOL_TREE", "SPT_NOENV"}


def environment(environ, patterns=WORKER_ENV, complaints=None):
    complain = complaints.append if complaints is not None else pytest.fail
    return Environment(environ, patterns, URL, "mark", complain)


def passed_on(environ, patterns=WORKER_ENV):
    return environment(environ, patterns).of_zygote()


def test_only_what_a_pattern_names_is_passed_on():
    environ = {"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "k", "DATABASE_URL": "x", "A": "1"}

    assert set(passed_on(environ)) - OURS == {"PATH", "LC_ALL", "OPENAI_API_KEY"}


def test_redis_is_never_passed_on_whatever_the_patterns_say():
    environ = {"REDIS_URL": URL, "REDIS_PASSWORD": "s3cr3t", "CACHE": URL, "MINE": f"x={URL}&y"}

    assert set(passed_on(environ, ["*"])) == OURS
    assert environment(environ).of_plugin(environ) == {}


def test_our_own_settings_are_not_passed_on_by_default():
    environ = {"CREWPOOL_WORKERS": "2", "CREWPOOL_OFFLINE_MODEL_URL": "http://127.0.0.1:1"}

    passed = passed_on(environ)

    assert "CREWPOOL_WORKERS" not in passed
    assert "CREWPOOL_OFFLINE_MODEL_URL" in passed


def test_the_password_of_redis_alone_is_not_passed_on_either():
    """An application may have taken the URL apart."""
    environ = {"OPENAI_ORGANIZATION": "s3cr3t", "OPENAI_API_KEY": "k"}

    assert "s3cr3t" not in passed_on(environ).values()
    assert environment(environ).of_plugin(["OPENAI_ORGANIZATION"]) == {}


def test_each_pool_bears_its_mark():
    assert passed_on({})["CREWPOOL_TREE"] == "mark"


def test_the_names_of_patterns_are_exact():
    environ = {"path": "x", "XPATH": "x", "PATHS": "x", "OPENAI": "x"}

    assert set(passed_on(environ)) == OURS


def test_keys_in_a_workers_environment_are_for_the_masks():
    ours = environment({"OPENAI_API_KEY": "sk-0123456789", "PATH": "/usr/bin"})
    ours.of_zygote()

    assert ours.secrets() == ("sk-0123456789",)


def test_a_plugin_sees_what_it_names_and_no_more():
    environ = {"WIKI_TOKEN": "w", "MAIL_TOKEN": "m", "PATH": "/bin"}

    assert environment(environ).of_plugin(["WIKI_TOKEN", "NOT_SET"]) == {"WIKI_TOKEN": "w"}
    assert set(passed_on(environ)) - OURS == {"PATH"}


# ---- secrets in files


def test_a_file_gives_the_value_and_its_path_is_nobodys_business(tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-from-a-file\n")
    environ = {"OPENAI_API_KEY_FILE": str(file), "OPENAI_API_KEY": "sk-older", "X_FILE": str(file)}

    assert passed_on(environ) == {
        "OPENAI_API_KEY": "sk-from-a-file",
        "CREWPOOL_TREE": "mark",
        "SPT_NOENV": "1",
    }
    assert environment(environ).of_plugin(["X"]) == {"X": "sk-from-a-file"}
    assert environment(environ).of_plugin(["X_FILE"]) == {"X_FILE": str(file)}
    assert passed_on(environ, ["X_FILE"])["X_FILE"] == str(file)


def test_a_secret_that_was_rotated_is_read_anew_and_the_old_one_stays_masked(tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-before")
    ours = environment({"OPENAI_API_KEY_FILE": str(file)})
    ours.of_zygote()
    file.write_text("sk-afterwards")

    assert ours.of_plugin(["OPENAI_API_KEY"]) == {"OPENAI_API_KEY": "sk-afterwards"}
    assert ours.of_zygote()["OPENAI_API_KEY"] == "sk-afterwards"
    assert set(ours.secrets()) == {"sk-before", "sk-afterwards"}


def test_files_that_libraries_read_by_themselves_are_left_to_them(tmp_path):
    environ = {"SSL_CERT_FILE": "/etc/ca.pem", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path)}

    assert passed_on(environ).items() >= environ.items()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "no file"),
        (os.mkfifo, "no file"),
        (lambda path: path.write_bytes(b"x" * 65_537), "65536 bytes"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "UTF-8"),
        (lambda path: path.write_bytes(b"top\0secret"), "zero byte"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_its_variable_and_not_by_its_content(
    make, reason, tmp_path
):
    make(tmp_path / "secret")
    complaints = []
    environ = {"OPENAI_API_KEY_FILE": str(tmp_path / "secret"), "PATH": "/bin"}
    ours = environment(environ, complaints=complaints)

    with pytest.raises(SecretUnreadable, match=reason) as raised:
        ours.of_plugin(["OPENAI_API_KEY"])
    assert set(ours.of_zygote()) - OURS == {"PATH"}

    assert "OPENAI_API_KEY_FILE" in str(raised.value)
    assert "top" not in str(raised.value)
    assert [error.variable for error in complaints] == ["OPENAI_API_KEY_FILE"] * 2


# ---- who may follow whom in a worker


@pytest.mark.parametrize(
    ("ran", "plugin", "has_secrets", "is_private", "may"),
    [
        ((), "a", False, True, True),
        (("a",), "a", True, True, True),
        (("a",), "b", True, False, False),
        (("a",), "b", False, True, False),
        (("a",), "b", False, False, True),
        (("a", "b"), "b", False, True, False),
    ],
)
def test_secrets_of_one_plugin_never_share_a_process_with_another(
    ran, plugin, has_secrets, is_private, may
):
    assert fits(ran, plugin, has_secrets=has_secrets, is_private=is_private) is may


# ---- the second bolt


def test_the_second_bolt_holds_when_the_zygote_is_started_by_hand():
    environ = {
        "REDIS_URL": URL,
        "REDIS_HOST": "h",
        "CREWPOOL_WORKERS": "2",
        "CREWPOOL_TREE": "mark",
        "OTEL_SDK_DISABLED": "false",
        "PATH": "/bin",
    }

    lock_down(environ)

    assert environ == {"CREWPOOL_TREE": "mark", "PATH": "/bin", **FORCED}


def test_telemetry_dotenv_and_threads_are_off():
    environ = {}
    lock_down(environ)

    assert environ["CREWAI_DISABLE_TELEMETRY"] == environ["OTEL_SDK_DISABLED"] == "true"
    assert environ["CREWAI_TRACING_ENABLED"] == "false"
    assert environ["PYTHON_DOTENV_DISABLED"] == "1"
    assert environ["OPENBLAS_NUM_THREADS"] == "1"
