"""The settings of run records: known kinds of databases only, and no password is shown."""

import pytest

from supervisor.configuration import load, origins
from supervisor.errors import SettingsWrong

SECRET = "pw-secret"


@pytest.fixture(autouse=True)
def _no_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def shown(name):
    return next(row.value for row in origins(load()) if row.name == name)


def test_without_a_database_there_are_no_records():
    assert load().records_url.get_secret_value() == ""
    assert shown("records_url") == ""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///runs.db", "sqlite:///runs.db"),
        (f"postgresql://u:{SECRET}@host/db", "postgresql://***@host/db"),
        (f"postgres://u:{SECRET}@host/db", "postgres://***@host/db"),
        (f"postgresql+psycopg://u:{SECRET}@host/db", "postgresql+psycopg://***@host/db"),
        (
            f"postgresql://host/db?user=u&password={SECRET}&sslpassword={SECRET}",
            "postgresql://host/db?user=u&password=***&sslpassword=***",
        ),
    ],
)
def test_an_address_is_shown_without_its_passwords(monkeypatch, url, told):
    monkeypatch.setenv("CREWPOOL_RECORDS_URL", url)

    assert shown("records_url") == told
    assert load().records_url.get_secret_value() == url
    assert SECRET not in repr(load())


@pytest.mark.parametrize("url", ["runs.db", "sqlite://", f"mysql://u:{SECRET}@host/db"])
def test_another_kind_of_database_is_refused_without_its_password(monkeypatch, url):
    monkeypatch.setenv("CREWPOOL_RECORDS_URL", url)
    with pytest.raises(SettingsWrong, match="CREWPOOL_RECORDS_URL: must begin with") as raised:
        load()

    assert SECRET not in str(raised.value)
