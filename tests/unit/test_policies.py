"""What plugin.yaml and the settings may say of retries and limits, and what the guide shows."""

import re

import pytest
import yaml
from pydantic import ValidationError

from supervisor import configuration as settings
from tests.support.plugins import write_plugin
from tests.support.supervisors import ROOT
from worker.crew.causes import Failure, failure_of
from worker.plugins import load
from worker.policies import CAUSES, Limits, Policies, Rate, Retry

GUIDE = (ROOT / "docs" / "plugins.md").read_text("utf-8")


def policies(text):
    return Policies.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize("word", ["none", "null", "~", "", "no", "off", "false"])
def test_none_in_any_of_yamls_ways_is_no_retry(word):
    assert policies(f"retry: {{crash: {word}}}").retry == {"crash": Retry(attempts=1)}


def test_a_number_is_the_attempts_and_the_long_form_says_the_backoff_too():
    said = policies("""
        retry:
          exception: 2
          timeout: {attempts: 3}
          rate_limited: {attempts: 5, backoff_s: 10, backoff_max_s: 600}
    """).retry

    assert said == {
        "exception": Retry(attempts=2),
        "timeout": Retry(attempts=3),
        "rate_limited": Retry(attempts=5, backoff_s=10, backoff_max_s=600),
    }


@pytest.mark.parametrize(
    ("text", "starts", "period_s"),
    [
        ("10/m", 10, 60),
        ("1/s", 1, 1),
        ("100/5m", 100, 300),
        ("5/1s", 5, 1),
        ("3 / 0.5h", 3, 1800),
        ("1000/d", 1000, 86_400),
        (" 2/10s ", 2, 10),
    ],
)
def test_a_rate_is_starts_in_a_period(text, starts, period_s):
    limits = Limits.model_validate({"rate": text})

    assert limits.rate == Rate(starts=starts, period_s=period_s)


def test_a_rate_may_be_written_out():
    limits = policies("limits: {rate: {starts: 3, period_s: 7.5}}").limits

    assert limits.rate == Rate(starts=3, period_s=7.5)


def test_without_a_word_nothing_is_limited_and_nothing_said_of_retries():
    assert policies("{}") == Policies(retry={}, limits=Limits(max_concurrency=None, rate=None))
    assert policies("limits: {rate: null}").limits.rate is None


@pytest.mark.parametrize("rate", ["٣/m", "10/m\n20/m", "1e3/m", "-1/m", "0/m", "10/m/s", "/m", "m"])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ValidationError, match="must look like 10/m"):
        Limits.model_validate({"rate": rate})


@pytest.mark.parametrize("cause", ["invalid", "cancelled"])
def test_what_no_retry_can_mend_may_only_be_said_to_be_final(cause):
    assert policies(f"retry: {{{cause}: none}}").retry[cause].attempts == 1
    with pytest.raises(ValidationError, match=f"a run that was {cause} is never started again"):
        policies(f"retry: {{{cause}: 2}}")


def test_a_policy_laid_over_another_keeps_what_it_does_not_say():
    below = Retry(attempts=9, backoff_s=2, backoff_max_s=50)

    assert Retry(attempts=2).over(below) == Retry(attempts=2, backoff_s=2, backoff_max_s=50)
    assert Retry().over(below) == below
    assert Retry(backoff_s=0).over(below) == Retry(attempts=9, backoff_s=0, backoff_max_s=50)


def blocks_of(language):
    """Return the examples in the guide that are written in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_guide_are_good_manifests(tmp_path):
    for text in blocks_of("yaml"):
        path = write_plugin(tmp_path, "my-plugin", "x = 1") / "my-plugin"
        (path / "plugin.yaml").write_text(text)
        told = load(path).manifest
        assert told.model_fields_set > {"name"}


def test_the_examples_of_the_guide_mean_what_stands_beside_them():
    retry, limits = (
        Policies.model_validate(without_name(text))
        for text in blocks_of("yaml")
        if re.search("^(retry|limits):", text, re.MULTILINE)
    )

    assert retry.retry["exception"].attempts == 2
    assert retry.retry["crash"].attempts == 1
    assert limits.limits == Limits(max_concurrency=2, rate=Rate(starts=100, period_s=300))


def without_name(text):
    return {key: value for key, value in yaml.safe_load(text).items() if key != "name"}


def test_the_settings_of_the_guide_are_good_settings(tmp_path, monkeypatch):
    (example,) = blocks_of("toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crewpool.toml").write_text(example)
    in_file = settings.load()
    (tmp_path / "crewpool.toml").unlink()
    monkeypatch.setenv("CREWPOOL_RETRY", re.search(r"`CREWPOOL_RETRY='(.*?)'`", GUIDE)[1])
    in_environment = settings.load()

    for said in (in_file, in_environment):
        assert said.retry_of("exception").attempts == 2
        assert said.retry_of("crash").attempts == 1
    assert in_file.retry_of("oom").attempts == 5
    assert in_file.retry_of("timeout") == Retry(attempts=2, backoff_s=30)


def test_the_guide_shows_each_cause_with_its_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = re.findall(
        r"^\| `([a-z_]+)` \| [^|]+ \| (\d+) \| ?([\d.]*)(?: s)? ?\|$", GUIDE, re.MULTILINE
    )

    assert sorted(cause for cause, *_ in rows) == sorted(CAUSES)
    for cause, starts, wait_s in rows:
        retry = settings.load().retry_of(cause)
        assert retry.attempts == int(starts), cause
        assert wait_s == (f"{retry.backoff_s:g}" if retry.attempts > 1 else ""), cause


def test_the_guide_shows_each_key_with_its_default():
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d+) \| ", GUIDE, re.MULTILINE)
    defaults = {name: told for name, told in rows if name in Retry.model_fields}

    assert defaults == {name: f"{f.default:g}" for name, f in Retry.model_fields.items()}


def test_the_error_of_the_guide_is_taken_for_a_429():
    namespace = {}
    (example,) = (text for text in blocks_of("python") if "RateLimitError" in text)
    exec(example, namespace)

    error = namespace["RateLimitError"]({"Retry-After": "9"})

    assert failure_of(error, 0) == Failure("rate_limited", 9)
