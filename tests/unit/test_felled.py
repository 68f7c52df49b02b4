"""Whom the end of a zygote is put down to, and what the next one is told."""

import pytest

from supervisor.pool.felled import FelledPlugins, felled_by
from worker.protocol import Importing

NEWS = Importing(plugin="news", code="0123456789ab")


@pytest.fixture
def felled(tmp_path):
    for name in ("news", "other"):
        (tmp_path / name).mkdir()
    return FelledPlugins(tmp_path)


@pytest.mark.parametrize("how", ["exit 0", "exit 3", "SIGSEGV", "SIGABRT"])
def test_runs_of_what_surely_ended_the_zygote_are_refused(how):
    it = felled_by(NEWS, how)

    assert it.is_refused
    assert it.reason == f"its import ended the zygote with {how}"


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGALRM", "signal 40"])
def test_what_somebody_else_may_have_ended_is_left_to_the_workers(how):
    assert not felled_by(NEWS, how).is_refused


def test_what_was_late_is_left_to_the_workers():
    it = felled_by(NEWS, "SIGKILL", "it was not ready after 60s")

    assert not it.is_refused
    assert it.reason == "its import was cut off: it was not ready after 60s"
    assert not felled_by(NEWS, "exit 1", "it broke the protocol").is_refused


def test_reasons_are_short_for_all_of_them_stand_in_one_argument():
    assert len(felled_by(NEWS, "exit 1", "x" * 10_000).reason) == 500


def test_each_name_brings_us_on_once(felled):
    """Whoever lies about names, again and again, must not have zygotes started in a circle."""
    assert felled.note(felled_by(NEWS, "exit 3"))
    assert not felled.note(felled_by(NEWS, "exit 3"))
    assert not felled.note(felled_by(Importing(plugin="nobody"), "exit 3"))
    assert [it.code for it in felled.as_told()] == [NEWS.code]


def test_one_whose_code_is_another_each_time_is_left_out_whatever_it_is(felled):
    """Its import writes into its own folder."""
    codes = ("0123456789ab", "ffffffffffff", "eeeeeeeeeeee")
    words = [Importing(plugin="news", code=code) for code in codes]

    assert [felled.note(felled_by(word, "exit 3")) for word in words] == [True, True, False]

    assert [it.code for it in felled.as_told()] == [""]


def test_those_that_a_zygote_has_imported_are_forgotten(felled):
    felled.note(felled_by(NEWS, "exit 3"))
    felled.note(felled_by(Importing(plugin="other"), "exit 3"))

    felled.note_ready({"other": "its import ended the zygote with exit 3"})

    assert [it.plugin for it in felled.as_told()] == ["other"]
    assert felled.note(felled_by(NEWS, "exit 3")), "its new code may end the next one"


def test_only_those_whose_runs_fail_are_tried_again(felled):
    felled.note(felled_by(NEWS, "exit 3"))
    felled.note(felled_by(Importing(plugin="other"), "SIGKILL"))

    felled.try_again()

    assert [it.plugin for it in felled.as_told()] == ["other"]
