"""The sentence about the last moments of a run."""

import doctest

import pytest

from supervisor import lastmoments
from supervisor.lastmoments import read, told
from supervisor.pool.stall import Kind


def test_the_examples_in_docstrings_are_true():
    assert doctest.testmod(lastmoments).failed == 0


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_stall_has_its_sentence(kind):
    assert told({"stall": kind.value}).endswith(".")


def test_a_sentence_says_where_the_crew_was():
    facts = {"stall": "burning_cpu", "cores": 0.98, "task": 2, "tasks": 3, "agent": "Writer"}

    assert told(facts | {"tool": "search"}) == (
        "It was burning CPU (0.98 cores), in task 2 of 3, agent Writer, tool search."
    )


def test_several_peers_are_named():
    peers = ["10.0.0.7:443", "[::1]:80"]

    assert told({"stall": "waiting_on_socket", "peers": peers}) == (
        "It was waiting on a socket to 10.0.0.7:443 and [::1]:80."
    )


@pytest.mark.parametrize("text", ["", "no json", "[]", "7", "[" * 100_000])
def test_what_is_no_post_mortem_is_told_as_none(text):
    assert told(read(text)) == ""


def test_what_comes_from_others_is_short_and_one_line():
    said = told({"stall": "sleeping", "agent": "a\nb" * 10_000})

    assert len(said) < 300
    assert "\n" not in said
