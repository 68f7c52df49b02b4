"""Metrics: one registry, labels from our own lists, names that stay."""

import re

import pytest

from supervisor.observe.metrics import Metrics


@pytest.fixture
def metrics():
    metrics = Metrics()
    metrics.know({"echoes": object()})
    return metrics


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"crewpool_{name}", labels)


def test_a_run_that_ended_is_counted_with_its_cause(metrics):
    metrics.run_ended("echoes", "failed", "timeout", 2.0)

    labels = {"plugin": "echoes", "status": "failed", "cause": "timeout"}
    assert value(metrics, "runs_total", **labels) == 1
    assert value(metrics, "run_seconds_sum", plugin="echoes") == 2.0


def test_a_name_from_a_payload_is_no_label(metrics):
    for n in range(1000):
        metrics.run_ended(f"hostile-{n}", "failed", "invalid", 0.1)
        metrics.tokens_used(f"hostile-{n}", 1, 1, 1)

    assert "hostile" not in metrics.exposition().decode()
    assert value(metrics, "llm_calls_total", plugin="other") == 1000


def test_a_wait_that_is_unknown_or_negative_spoils_nothing(metrics):
    metrics.run_started(None)
    metrics.run_started(-5.0)

    assert value(metrics, "queue_wait_seconds_sum") == 0
    assert value(metrics, "queue_wait_seconds_count") == 1


def test_no_sample_is_nan(metrics):
    metrics.set_queue({"plugin:requests": 3}, {"plugin:requests": 1})
    metrics.set_workers(2, {"idle": 2})

    assert "nan" not in metrics.exposition().decode().lower()


def test_what_is_passed_over_is_counted_by_its_kind(metrics):
    metrics.passed("parked", 1)
    metrics.passed("parked", 1)
    metrics.passed("lost", 697)

    assert value(metrics, "passed_runs_total", kind="parked") == 2
    assert value(metrics, "passed_runs_total", kind="lost") == 697


def test_what_waits_is_shown_for_plugins_that_we_know_and_in_sum_for_the_others(metrics):
    parked = {"echoes": 2, "hostile-1": 3, "hostile-2": 4}
    metrics.set_waiting(5, parked, {"echoes": "paused", "hostile-1": "quarantined"})

    assert value(metrics, "delayed_runs") == 5
    assert value(metrics, "parked_runs", plugin="echoes") == 2
    assert value(metrics, "parked_runs", plugin="other") == 7
    assert value(metrics, "plugin_paused", plugin="echoes", state="paused") == 1
    assert value(metrics, "plugin_paused", plugin="other", state="quarantined") == 1
    assert "hostile" not in metrics.exposition().decode()


def test_what_waits_no_more_is_not_shown_any_more(metrics):
    metrics.set_waiting(1, {"echoes": 2}, {"echoes": "paused"})
    metrics.set_waiting(0, {}, {})

    assert value(metrics, "delayed_runs") == 0
    assert value(metrics, "parked_runs", plugin="echoes") is None
    assert value(metrics, "plugin_paused", plugin="echoes", state="paused") is None


def test_two_supervisors_in_one_process_share_nothing():
    one, two = Metrics(), Metrics()
    one.lease_lost()

    assert value(two, "leases_lost_total") == 0


def test_every_metric_is_ours_and_says_what_it_is(metrics):
    text = metrics.exposition().decode()
    names = re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE)

    assert len(names) > 15
    assert all(name.startswith("crewpool_") and told for name, told in names)
