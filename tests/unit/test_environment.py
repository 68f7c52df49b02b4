"""What of our environment a worker may see."""

from supervisor.pool.environment import secrets_in, worker_environment
from supervisor.worker_settings import WORKER_ENV
from worker.crew.lockdown import FORCED, lock_down

URL = "redis://:s3cr3t@redis.internal:6379/0"


def passed_on(environ, patterns=WORKER_ENV, url=URL):
    return worker_environment(environ, patterns, url, "mark")


def test_only_what_a_pattern_names_is_passed_on():
    environ = {"PATH": "/bin", "LC_ALL": "C", "OPENAI_API_KEY": "k", "DATABASE_URL": "x", "A": "1"}

    assert set(passed_on(environ)) - {"CREWPOOL_TREE", "SPT_NOENV"} == {
        "PATH",
        "LC_ALL",
        "OPENAI_API_KEY",
    }


def test_redis_is_never_passed_on_whatever_the_patterns_say():
    environ = {"REDIS_URL": URL, "REDIS_PASSWORD": "s3cr3t", "CACHE": URL, "MINE": f"x={URL}&y"}

    assert set(passed_on(environ, ["*"])) == {"CREWPOOL_TREE", "SPT_NOENV"}


def test_our_own_settings_are_not_passed_on_by_default():
    environ = {"CREWPOOL_WORKERS": "2", "CREWPOOL_OFFLINE_MODEL_URL": "http://127.0.0.1:1"}

    passed = passed_on(environ)

    assert "CREWPOOL_WORKERS" not in passed
    assert "CREWPOOL_OFFLINE_MODEL_URL" in passed


def test_the_password_of_redis_alone_is_not_passed_on_either():
    """An application may have taken the URL apart."""
    environ = {"OPENAI_ORGANIZATION": "s3cr3t", "OPENAI_API_KEY": "k"}

    assert "s3cr3t" not in passed_on(environ).values()


def test_each_pool_bears_its_mark():
    assert passed_on({})["CREWPOOL_TREE"] == "mark"


def test_the_names_of_patterns_are_exact():
    environ = {"path": "x", "XPATH": "x", "PATHS": "x", "OPENAI": "x"}

    assert set(passed_on(environ)) == {"CREWPOOL_TREE", "SPT_NOENV"}


def test_keys_in_a_workers_environment_are_for_the_masks():
    assert secrets_in({"OPENAI_API_KEY": "sk-0123456789", "PATH": "/usr/bin"}) == ("sk-0123456789",)


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
