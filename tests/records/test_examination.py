"""What `crewpool doctor` finds in records, on both databases: all that is wrong, and no change."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from supervisor.cli.checks_records import of_records
from supervisor.runs.cron import Cron
from supervisor.runs.migrations import HEAD
from supervisor.runs.models import PluginRun
from supervisor.runs.outbox import NewRun
from supervisor.runs.requests import PluginRequest
from supervisor.runs.schedules import NewSchedule, Schedules
from supervisor.runs.sealing import Sealer, make_key
from supervisor.runs.store import RunStore
from supervisor.settings import Settings
from tests.records.conftest import SECRET


@pytest.fixture
def settings(empty_url, tmp_path, monkeypatch):
    """Settings with these records and a key, and a port that nobody has."""
    monkeypatch.chdir(tmp_path)
    key = tmp_path / "outbox.key"
    make_key(key)
    given = {"records_url": empty_url, "outbox_key_file": key, "records_http_port": 0}
    return lambda **more: Settings(**{**given, **more})


@pytest.fixture
def store(empty_url):
    """The same records, with tables."""
    with RunStore(empty_url) as store:
        store.upgrade()
        yield store


def found(findings, level):
    """What was found at that level: all about it by topic."""
    told = {}
    for finding in findings:
        if finding.level == level:
            told.setdefault(finding.topic, []).append(f"{finding.said} | {finding.cure}")
    return told


@pytest.mark.usefixtures("store")
def test_records_that_are_well_are_good_news(settings):
    findings = of_records(settings())

    assert {finding.level for finding in findings} == {"good"}
    assert {finding.topic for finding in findings} == {"records", "outbox"}
    assert f"tables at {HEAD}" in findings[0].said


def test_nothing_is_made_where_there_is_nothing(database, settings, tmp_path):
    before = set(tmp_path.iterdir())

    findings = of_records(settings(outbox_key_file=None))

    assert set(tmp_path.iterdir()) == before
    if database == "sqlite":
        assert {finding.level for finding in findings} == {"good"}
    else:
        assert "crewpool db upgrade" in found(findings, "problem")["records"][0]
        assert "crewpool db key" in found(findings, "warning")["outbox"][0]


def test_tables_of_a_newer_crewpool_are_a_problem(store, settings):
    with store.database.writing() as session:
        session.connection().exec_driver_sql("UPDATE crewpool_version SET version_num = '9999'")

    (told,) = found(of_records(settings()), "problem")["records"]

    assert "install a newer crewpool" in told


def test_what_no_key_opens_and_what_cannot_fire_is_told(store, settings, tmp_path):
    sealer = Sealer.of(tmp_path / "lost.key")
    request = PluginRequest("echoes", 7, {"_llm_api_key": SECRET})
    run_id = store.add(NewRun.of(request, sealer, 100_000)).run.plugin_run_id
    schedules = Schedules(store, sealer, 100_000)
    schedule, _ = schedules.add(NewSchedule(Cron.read("0 7 * * *", "UTC"), "echoes", 7))
    schedules.note_error(schedule, "no such plugin")
    store.note_failure(run_id, "Redis is full")
    long_ago = store.get(run_id).created_at - timedelta(minutes=10)
    store.database.change(update(PluginRun).values(created_at=long_ago))

    findings = of_records(settings())

    (told,) = found(findings, "problem")["outbox"]
    assert run_id in told
    assert "second line" in told
    (waits,) = found(findings, "warning")["outbox"]
    assert "1 runs wait to be published" in waits
    assert "Redis is full" in waits
    (broken,) = found(findings, "problem")["schedules"]
    assert f"{schedule.id} cannot fire: no such plugin" in broken
    assert SECRET not in json.dumps([str(finding) for finding in findings])


@pytest.mark.usefixtures("store")
def test_a_key_that_others_may_read_or_that_is_none_is_told(settings, tmp_path):
    (tmp_path / "outbox.key").chmod(0o644)
    (wide,) = found(of_records(settings()), "warning")["outbox"]
    (tmp_path / "no.key").write_text("no key\n")
    (none,) = found(of_records(settings(outbox_key_file=tmp_path / "no.key")), "problem")["outbox"]

    assert f"chmod 600 {tmp_path}/outbox.key" in wide
    assert "no.key" in none


def test_a_database_that_is_away_is_a_problem_without_its_password(settings):
    findings = of_records(settings(records_url="postgresql://app:hush@127.0.0.1:1/app"))

    (told,) = found(findings, "problem")["records"]
    assert "are not reachable" in told
    assert "hush" not in told
