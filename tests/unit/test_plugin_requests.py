"""What Python applications hand in is checked before anything is recorded or sent."""

from enum import Enum

import pytest
from sqlalchemy.dialects import sqlite

from supervisor.runs.columns import UserId
from supervisor.runs.requests import PluginRequest, RequestInvalid


class Someone(int, Enum):
    ADA = 7


def problem_of(**wrong) -> str:
    asked = {"plugin_name": "hello", "user_id": 42} | wrong
    with pytest.raises(RequestInvalid) as refused:
        PluginRequest(**asked).publication(1_000_000)
    return refused.value.problem


@pytest.mark.parametrize("user", [1.0, 1.5, True, "42", None])
def test_a_user_that_is_no_integer_is_refused(user):
    assert problem_of(user_id=user) == "user_id must be an unsigned integer"


@pytest.mark.parametrize("settings", [["name"], "name", 5])
def test_settings_that_are_no_mapping_are_refused(settings):
    assert problem_of(settings=settings) == "settings must be a mapping, such as a dict"


@pytest.mark.parametrize("name", ["delay_s", "unique_for_s", "at"])
@pytest.mark.parametrize("value", ["soon", [1], True])
def test_a_time_that_is_no_number_is_refused(name, value):
    assert problem_of(**{name: value}) == f"{name} must be a number of seconds"


def test_a_user_is_stored_as_the_number_that_it_is():
    stored = UserId().process_bind_param(Someone.ADA, sqlite.dialect())
    assert UserId().process_result_value(stored, sqlite.dialect()) == 7


def test_what_is_no_integer_is_never_stored_as_a_user():
    with pytest.raises(TypeError):
        UserId().process_bind_param(1.0, sqlite.dialect())
