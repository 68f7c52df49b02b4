"""The alerts of deploy/prometheus: about metrics that there are, and heard when they should be."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from supervisor.observe.gateway import GatewayMetrics
from supervisor.observe.metrics import Metrics
from supervisor.observe.records import RecordsMetrics

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"


def rules():
    """Every alert by its name."""
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture
def promtool():
    """The checker of Prometheus."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool on this machine (apt-get install prometheus)")
    return program


def test_promtool_takes_the_configuration_with_its_rules(promtool):
    checked = subprocess.run(
        [promtool, "check", "config", "prometheus.yml"],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"SUCCESS: {len(rules())} rules found" in checked.stdout


def test_alerts_look_only_at_metrics_and_labels_that_there_are():
    programs = (Metrics, RecordsMetrics, GatewayMetrics)
    metrics = {metric.name for of in programs for metric in of().registry.collect()}
    labels = {
        "crewpool_passed_runs": {"kind"},
        "crewpool_dead_letters": {"reason"},
        "crewpool_plugin_paused": {"plugin", "state"},
        "crewpool_parked_runs": {"plugin"},
        "crewpool_records_dead_letters": {"reason"},
        "crewpool_gateway_refused": {"reason"},
    }

    for name, rule in rules().items():
        expression = rule["expr"]
        used = re.findall(r"crewpool_[a-z_]+", expression)
        assert used or 'up{job="crewpool' in expression or 'up{job=~"crewpool' in expression
        known = {metric.removesuffix("_total") for metric in used}
        assert known <= metrics, name
        asked = re.findall(r"(\w+)=~?\"|by \((\w+)\)", expression)
        told = set().union(*(labels.get(metric, set()) for metric in known), {"job"})
        assert {one or other for one, other in asked} <= told, name


ALL = 'ALERTS{alertstate="firing"}'
# What each alert must see, minute by minute, when it fires, and with which labels.
FIRES = {
    "CrewpoolEntriesLost": (
        {
            'crewpool_passed_runs_total{kind="lost",instance="a"}': "0 1329x10",
            'crewpool_entries_trimmed_total{instance="a"}': "0x11",
        },
        "3m",
        {"severity": "critical"},
    ),
    "CrewpoolPluginQuarantined": (
        {
            'crewpool_plugin_paused{plugin="news",state="quarantined",instance="a"}': "1x5 _x5",
            'crewpool_plugin_paused{plugin="news",state="probing",instance="a"}': "_x5 1x5",
            'crewpool_plugin_paused{plugin="mine",state="paused",instance="a"}': "1x10",
        },
        "9m",
        {"severity": "warning", "plugin": "news"},
    ),
    "CrewpoolDeadLettersGrowing": (
        {
            'crewpool_dead_letters_total{reason="timeout",instance="a"}': "0+1x30",
            'crewpool_dead_letters_total{reason="exception",instance="a"}': "0 1x30",
        },
        "25m",
        {"severity": "warning", "reason": "timeout"},
    ),
    "CrewpoolRunsParkedLong": (
        {'crewpool_parked_runs{plugin="news",instance="a"}': "3x40"},
        "31m",
        {"severity": "warning", "plugin": "news"},
    ),
    "CrewpoolRunsWaitForMemory": (
        {
            'crewpool_admission_closed{because="memory",instance="a"}': "1x10 0x10",
            'crewpool_admission_closed{because="no_room",instance="a"}': "0x10 1x10",
            'crewpool_admission_closed{because="no_room",instance="b"}': "1x10 0 1x9",
        },
        "16m",
        {"severity": "warning", "instance": "a"},
    ),
    "CrewpoolReloadFailed": (
        {
            'crewpool_reload_failed{instance="a"}': "0 1x15",
            'crewpool_reload_failed{instance="b"}': "0 1x5 0x10",
        },
        "12m",
        {"severity": "warning", "instance": "a"},
    ),
    "CrewpoolRedisAway": (
        {'crewpool_redis_up{instance="a"}': "1 0x5", 'crewpool_redis_up{instance="b"}': "1x6"},
        "3m",
        {"severity": "critical", "instance": "a"},
    ),
    "CrewpoolDown": (
        {'up{job="crewpool",instance="a"}': "1 0x5", 'up{job="other",instance="b"}': "0x6"},
        "4m",
        {"severity": "critical", "instance": "a", "job": "crewpool"},
    ),
    "CrewpoolRecordsAway": (
        {
            'crewpool_records_redis_up{instance="a"}': "1x6",
            'crewpool_records_database_up{instance="a"}': "1 0x5",
            'crewpool_records_redis_up{instance="b"}': "1 0 1x4",
        },
        "4m",
        {"severity": "critical", "instance": "a"},
    ),
    "CrewpoolOutboxWaits": (
        {'crewpool_records_outbox_oldest_seconds{instance="a"}': "0+60x20"},
        "12m",
        {"severity": "warning"},
    ),
    "CrewpoolResultsSetAside": (
        {
            'crewpool_records_dead_letters_total{reason="unknown_run",instance="a"}': "0+1x30",
            'crewpool_records_dead_letters_total{reason="invalid",instance="a"}': "0 1x30",
        },
        "20m",
        {"severity": "warning", "reason": "unknown_run"},
    ),
    "CrewpoolSchedulesMissed": (
        {'crewpool_records_schedules_missed_total{instance="a"}': "0 3x10"},
        "3m",
        {"severity": "warning"},
    ),
    "CrewpoolSchedulesNotFired": (
        {'crewpool_records_schedules_not_fired_total{instance="a"}': "0+60x15"},
        "8m",
        {"severity": "warning"},
    ),
    "CrewpoolGatewayRefuses": (
        {
            'crewpool_gateway_refused_total{reason="away",instance="a"}': "0+1x30",
            'crewpool_gateway_refused_total{reason="busy",instance="a"}': "0 1x30",
            'crewpool_gateway_refused_total{reason="invalid",instance="a"}': "0+9x30",
        },
        "12m",
        {"severity": "warning", "reason": "away"},
    ),
    "CrewpoolApplicationDown": (
        {
            'up{job="crewpool-records",instance="a"}': "1 0x5",
            'up{job="crewpool-gateway",instance="b"}': "1 0 1x4",
        },
        "4m",
        {"severity": "critical", "instance": "a", "job": "crewpool-records"},
    ),
}


def test_each_alert_fires_for_what_it_is_there_for_and_for_nothing_else(promtool, tmp_path):
    assert FIRES.keys() == rules().keys()
    cases = []
    for name, (series, at, labels) in FIRES.items():
        told = "".join(f',{label}="{value}"' for label, value in labels.items())
        firing = f'ALERTS{{alertname="{name}",alertstate="firing"{told}}}'
        cases.append(
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {"expr": ALL, "eval_time": "0m", "exp_samples": []},
                    {"expr": ALL, "eval_time": at, "exp_samples": [{"labels": firing, "value": 1}]},
                ],
            }
        )
    file = tmp_path / "alerts.test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": cases}), "utf-8")

    tested = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr
