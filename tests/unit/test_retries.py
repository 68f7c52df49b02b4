"""How often a run is started again, and how long it waits for that."""

import pytest

from supervisor.configuration import load
from supervisor.retries import delay_s, policy_for
from worker.policies import CAUSES, Policies, Retry

FOUR_S = Retry(attempts=5, backoff_s=4, backoff_max_s=20)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """No crewpool.toml but the test's own."""
    monkeypatch.chdir(tmp_path)


def middle():
    return 0.5


def none():
    return 0.0


def nearly_all():
    return 1 - 2**-53


def test_the_backoff_doubles_until_its_cap():
    waits = [delay_s(FOUR_S, attempt, None, middle) for attempt in (1, 2, 3, 4)]

    assert waits == [3, 6, 12, 15]


def test_half_of_it_is_certain_and_half_is_drawn():
    assert delay_s(FOUR_S, 1, None, none) == 2
    assert delay_s(FOUR_S, 1, None, nearly_all) == pytest.approx(4)


@pytest.mark.parametrize("attempt", [5, 6, 100, 10**9])
def test_after_the_last_attempt_there_is_no_other(attempt):
    assert delay_s(FOUR_S, attempt, 7, middle) is None


def test_one_attempt_means_no_retry():
    assert delay_s(Retry(), 1, None, middle) is None


def test_no_backoff_stays_none():
    at_once = Retry(attempts=100, backoff_s=0)

    assert {delay_s(at_once, n, None, nearly_all) for n in range(1, 100)} == {0}


def test_the_hundredth_attempt_overflows_nothing():
    assert delay_s(Retry(attempts=100, backoff_s=300), 99, None, none) == 150


def test_retry_after_is_waited_for_in_full():
    assert delay_s(FOUR_S, 1, 30, none) == 30


def test_those_who_were_told_the_same_do_not_come_back_together():
    assert delay_s(FOUR_S, 1, 30, middle) == 31
    assert delay_s(FOUR_S, 1, 30, nearly_all) == pytest.approx(32)


def test_a_retry_after_below_the_backoff_changes_nothing():
    assert delay_s(FOUR_S, 1, 1, middle) == delay_s(FOUR_S, 1, None, middle)
    assert delay_s(FOUR_S, 1, 0, middle) == delay_s(FOUR_S, 1, None, middle)


def test_nobody_waits_longer_than_an_hour_for_a_model():
    assert delay_s(FOUR_S, 1, 86_400, none) == 3600


@pytest.mark.parametrize("asked", [float("nan"), -1.0, float("-inf")])
def test_an_odd_retry_after_is_no_retry_after(asked):
    assert delay_s(FOUR_S, 1, asked, none) == 2


DEFAULTS = {"crash": 3, "oom": 3, "lost": 3, "rate_limited": 3}


@pytest.mark.parametrize("cause", CAUSES)
def test_without_a_word_of_anybody_the_defaults_hold(cause):
    retry = policy_for(Policies(), load(), cause)

    assert retry.attempts == DEFAULTS.get(cause, 1)
    assert policy_for(None, load(), cause) == retry


def test_a_lost_run_waits_for_nothing_and_a_refused_one_longer():
    settings = load()

    assert policy_for(None, settings, "lost").backoff_s == 0
    assert policy_for(None, settings, "crash").backoff_s == 1
    assert policy_for(None, settings, "rate_limited").backoff_s == 5


def test_the_plugin_comes_before_the_settings_and_those_before_the_defaults():
    settings = load(retry={"exception": 2, "timeout": 4}, max_attempts=7)
    plugin = Policies.model_validate({"retry": {"exception": 5, "crash": "none"}})

    attempts = {cause: policy_for(plugin, settings, cause).attempts for cause in CAUSES}

    assert attempts["exception"] == 5
    assert attempts["crash"] == 1
    assert attempts["timeout"] == 4
    assert attempts["oom"] == 7
    assert attempts["needs_human"] == 1


def test_what_the_plugin_does_not_say_stays_as_the_settings_have_it():
    settings = load(retry={"crash": {"attempts": 9, "backoff_max_s": 40}})
    plugin = Policies.model_validate({"retry": {"crash": {"backoff_s": 8}, "rate_limited": 6}})

    assert policy_for(plugin, settings, "crash") == Retry(attempts=9, backoff_s=8, backoff_max_s=40)
    assert policy_for(plugin, settings, "rate_limited") == Retry(attempts=6, backoff_s=5)


@pytest.mark.parametrize("cause", ["invalid", "cancelled"])
def test_what_no_retry_can_mend_has_one_attempt_whoever_asks(cause):
    settings = load(max_attempts=100)
    plugin = Policies.model_validate({"retry": {cause: {"backoff_s": 3}}})

    assert policy_for(plugin, settings, cause).attempts == 1
