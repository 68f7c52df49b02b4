"""What plugin.yaml and the settings may say of retries and limits."""

import pytest
import yaml
from pydantic import ValidationError

from worker.policies import Limits, Policies, Rate, Retry


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
