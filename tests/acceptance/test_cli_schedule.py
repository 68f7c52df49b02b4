"""`crewpool schedule`: what is kept, what is refused, and that nothing is kept of that."""

import json

import pytest
from typer.main import get_command

from supervisor.cli import app
from supervisor.cli.failures import CommandFailed, UsageWrong
from supervisor.runs.store import RunStore
from tests.support.supervisors import DRILLS

SECRET = "sk-a-secret-of-a-user"


@pytest.fixture
def url(crewpool):
    return f"sqlite:///{crewpool.folder}/runs.db"


@pytest.fixture
def schedule(crewpool, url):
    """The command with a database."""

    def schedule(*arguments, **environment):
        return crewpool("schedule", *arguments, CREWPOOL_RECORDS_URL=url, **environment)

    return schedule


def test_a_schedule_is_added_listed_and_removed(crewpool, schedule):
    options = ("--user", 7, "--tz", "Europe/Berlin", "--set", "text=morning")
    added = schedule(
        *("add", "0 7 * * *", "echoes", *options, "--secret", "_llm_api_key=KEY"), KEY=SECRET
    )
    listed = schedule("list", "--json")
    shown = schedule("list")
    (kept,) = json.loads(listed.stdout)

    assert added.returncode == 0, added.stderr
    assert added.stdout.strip() == kept["id"]
    assert "Due next at" in added.stderr
    assert (kept["cron"], kept["timezone"], kept["user_id"]) == ("0 7 * * *", "Europe/Berlin", 7)
    assert kept["input"] == {"text": "morning", "_llm_api_key": "***"}
    assert kept["id"] in shown.stdout
    everything = b"".join(file.read_bytes() for file in crewpool.folder.glob("runs.db*"))
    assert SECRET not in added.stderr + listed.stdout + shown.stdout
    assert SECRET.encode() not in everything

    assert schedule("remove", kept["id"]).returncode == 0
    again = schedule("remove", kept["id"])
    assert again.returncode == 1
    assert "Next: crewpool schedule list" in again.stderr
    assert json.loads(schedule("list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "said", "do"),
    [
        (("0 7 * *", "echoes"), "has 4 fields", 'write it like "0 7 * * *"'),
        (("@daily", "echoes"), "has one field", "0 7 * * *"),
        (("0", "7", "bin", "etc", "*", "echoes"), "4 words more", "put the line in quotes"),
        (("0 25 * * *", "echoes"), "'25' is no hour", "0 to 23"),
        (("0 7 * foo *", "echoes"), "'foo' is no month", "JAN to DEC"),
        (("*/0 * * * *", "echoes"), "'*/0' is no minute", "steps with /"),
        (("0 7 31 2 *", "echoes"), "no day 31 in month 2", "L for its last one"),
        (("0 7 * * *", "echoes", "--tz", "Mars/Olympus"), "no time zone", "Europe/Berlin"),
        (("0 7 * * *", "echos"), "Unknown plugin 'echos'", "PLUGIN_DIR=…"),
        (("0 7 * * *", "echoes", "--set", "txt=1"), "unknown key txt", "crewpool plugins list"),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_nothing_is_kept(
    arguments, said, do, url, monkeypatch
):
    # In this process: as a command each would take a second to begin, and say the same.
    monkeypatch.setenv("CREWPOOL_RECORDS_URL", url)
    monkeypatch.setenv("PLUGIN_DIR", str(DRILLS))
    with pytest.raises(UsageWrong, match="Nothing was kept") as refused:
        get_command(app.app)(["schedule", "add", *arguments])

    assert refused.value.exit_code == 2
    assert said in str(refused.value)
    assert do in refused.value.next_step
    with RunStore(url) as store, store.database.reading() as session:
        count = session.connection().exec_driver_sql("SELECT count(*) FROM crewpool_schedules")
        assert count.scalar() == 0


def test_a_schedule_is_paused_and_resumed(url, monkeypatch, capsys):
    monkeypatch.setenv("CREWPOOL_RECORDS_URL", url)
    monkeypatch.setenv("PLUGIN_DIR", str(DRILLS))

    def said(*arguments):
        get_command(app.app)(["schedule", *arguments], standalone_mode=False)
        return "".join(capsys.readouterr())

    made = said("add", "0 7 * * *", "echoes").split()[0]
    assert "is paused: it fires no more until it is resumed" in said("pause", made)
    assert "is paused already; nothing was changed" in said("pause", made)
    assert "paused" in said("list")
    assert json.loads(said("list", "--json"))[0]["is_paused"] is True
    assert f"crewpool schedule resume {made}" in said("add", "0 7 * * *", "echoes")
    assert said("resume", made).startswith("Due next at")
    assert "is not paused; nothing was changed. Due next at" in said("resume", made)
    assert json.loads(said("pause", made, "--json"))["is_paused"] is True
    assert json.loads(said("resume", made, "--json"))["is_changed"] is True
    assert json.loads(said("remove", made, "--json")) == {"id": made, "is_removed": True}
    for order in ("pause", "resume"):
        with pytest.raises(CommandFailed, match="There is no schedule nobody"):
            said(order, "nobody")


def test_where_no_plugins_are_the_name_is_taken_as_it_is(schedule, tmp_path):
    added = schedule("add", "0 7 * * *", "elsewhere", PLUGIN_DIR=tmp_path / "none")

    assert added.returncode == 0
    assert "elsewhere was not checked" in added.stderr


def test_without_a_database_it_says_how_to_name_one(crewpool):
    refused = crewpool("schedule", "list")

    assert refused.returncode == 2
    assert "CREWPOOL_RECORDS_URL=sqlite:///" in refused.stderr
