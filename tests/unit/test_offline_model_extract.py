"""The extractor's reading and writing: texts to items, items to Markdown, and back."""

import json
import time
from datetime import date

import pytest

from supervisor.embedded import texts
from supervisor.embedded.compose import Wish, document, example_in, read_wish, with_note
from supervisor.embedded.conversation import NOTE, without_note
from supervisor.embedded.material import Item, Material, read_material

TOOL_TEXT = """2 of the 13 items read are on the topics technology, science.

### Ferries switch to sodium batteries
Topic: technology
Source: The Harbour Herald
Date: 2026-02-13
Link: https://herald.example.com/ferries
Summary: Two ferries sail on sodium. They are cheap. They keep their charge. Dr. Who likes them.

### Warning signs over the reef
Topic: science
Source: Meridian Letter
Date: 2026-02-09
Link: https://meridian.example.org/reef
Summary: Corals bleach early.

Could not read 'http://127.0.0.1:1/x': connection refused
"""

DIGEST = """# Digest: technology, science

Two stories on technology and science, from The Harbour Herald and Meridian Letter, \
9 to 13 February 2026.

## Technology

**Ferries switch to sodium batteries**

Two ferries sail on sodium. They are cheap.

*The Harbour Herald · 13 February 2026 · [Read more](https://herald.example.com/ferries)*

## Science

**Warning signs over the reef**

Corals bleach early.

*Meridian Letter · 9 February 2026 · [Read more](https://meridian.example.org/reef)*

## Remarks

- Could not read 'http://127.0.0.1:1/x': connection refused"""


@pytest.mark.parametrize(
    "text",
    [
        "Sat, 14 Feb 2026 08:00:00 GMT",
        "2026-02-14T08:00:00Z",
        "14 February 2026",
        "Feb 14, 2026",
        "on the 14th February 2026",
    ],
)
def test_a_date_is_read_however_it_is_written(text):
    assert date(2026, 2, 14) == texts.day_of(text)


@pytest.mark.parametrize("text", ["", "soon", "2026-99-99", "32 Foo 2026", "12:00"])
def test_what_is_no_date_is_none(text):
    assert texts.day_of(text) is None


def test_sentences_are_cut_at_their_ends_and_nowhere_else():
    text = 'Dr. Who came. He said "no." J. Doe left at 5 p.m. sharp! Why?'

    assert texts.sentences(text) == [
        "Dr. Who came.",
        'He said "no."',
        "J. Doe left at 5 p.m. sharp!",
        "Why?",
    ]


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("Gather news. Topics: solar power, wind.", "solar power and wind"),
        ("Topics: ['solar power', 'wind']", "solar power and wind"),
        ("Write an article about solar power. Be brief.", "solar power"),
        ("Research the state of solar power.", "state of solar power"),
        ("Be kind.", "Be kind"),
    ],
)
def test_the_subject_of_a_task_is_found(text, subject):
    assert subject == texts.subject(text)


def test_labelled_lines_become_items_and_remarks():
    material = read_material([TOOL_TEXT])

    assert [item.title for item in material.items] == [
        "Ferries switch to sodium batteries",
        "Warning signs over the reef",
    ]
    assert material.items[0].date == "2026-02-13"
    assert material.remarks == ("Could not read 'http://127.0.0.1:1/x': connection refused",)


def test_a_digest_has_title_sum_and_a_section_a_topic():
    wish = Wish(title="Digest: technology, science", most_sentences=2, unit=("story", "stories"))

    assert document(read_material([TOOL_TEXT]), wish, "unused") == DIGEST


def test_reading_and_writing_a_digest_again_changes_nothing():
    wish = Wish(most_sentences=2, unit=("story", "stories"))

    assert document(read_material([DIGEST]), wish, "unused") == DIGEST


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(
            {"results": [{"title": "A b", "link": "https://x.example.com/", "snippet": "C."}]}
        ),
        str([{"title": "A b", "url": "https://x.example.com/", "content": "C."}]),
        "A b\nhttps://x.example.com/\nC.",
        "- **A b**: C.\n  Link: https://x.example.com/",
        "1. [A b](https://x.example.com/) - C.",
        "## A b\n\nC.\n\nURL: https://x.example.com/",
        "Title: A b\nLink: https://x.example.com/\nSnippet: C.",
    ],
    ids=["json", "python", "search", "bold", "link", "heading", "labels"],
)
def test_the_usual_shapes_of_results_are_understood(text):
    assert (Item(title="A b", text="C.", link="https://x.example.com/"),) == read_material(
        [text]
    ).items


def test_the_same_story_from_two_texts_is_told_once_with_all_that_is_known():
    first, second = "## A b\n\nC.", "## A b\n\nSource: Herald\nDate: 2026-02-13"

    (item,) = read_material([first, second]).items

    assert (item.text, item.source, item.date) == ("C.", "Herald", "2026-02-13")


def test_prose_without_items_yields_the_sentences_that_have_to_do_with_the_task():
    prose = "Cows eat grass. Solar power grew by 9 percent. Bees fly. Solar parks cost less."

    text = document(Material(prose=prose), Wish(most_sentences=1), "solar power")

    assert text == "# Solar power\n\nSolar power grew by 9 percent. Solar parks cost less."


@pytest.mark.parametrize(
    ("prompt", "most_sentences", "most_items"),
    [
        ("one or two sentences on each", 2, None),
        ("exactly 3 short sentences", 3, None),
        ("A list with 10 bullet points", 4, 10),
        ("the top five most read stories, in one sentence each", 1, 5),
        ("anything", 4, None),
    ],
)
def test_the_prompt_says_how_much_is_wanted(prompt, most_sentences, most_items):
    wish = read_wish(prompt)

    assert (most_sentences, most_items) == (wish.most_sentences, wish.most_items)


def test_the_title_that_a_prompt_quotes_is_taken():
    assert read_wish('Markdown with the title "# News: a, b" on top').title == "News: a, b"


def test_the_sample_answer_of_a_prompt_is_found():
    assert example_in('One sentence, such as "Hello, Ada!", and no more') == "Hello, Ada!"
    assert not example_in('The word "hello" is not an example')


def test_the_remark_on_the_origin_stands_there_once_however_often_it_is_added():
    once = with_note("# A\n\n## B\n\nC.")

    assert once.count(NOTE) == 1
    assert once == with_note(once) == with_note(f"{once}\n\n*{NOTE}*")
    assert without_note(once) == "# A\n\n## B\n\nC."


def test_a_short_answer_has_the_remark_without_a_heading():
    assert f"Hello.\n\n*{NOTE}*" == with_note("Hello.")


@pytest.mark.parametrize(
    "piece",
    [
        *("\n", "a", ". A", "topic: ", "- x\n", "**", "# a\n## b\n", "[a](", "{", "[[", "http://"),
        *("*a · b*\n", "Could not a", '"', "a\nhttps://b\n", "Date: 1\n", "x\n\n", NOTE),
    ],
)
def test_no_text_makes_the_extractor_slow(piece):
    text = piece * (200_000 // len(piece))

    started = time.process_time()
    material = read_material([without_note(text)])
    document(material, read_wish(text), texts.subject(text))
    example_in(text)

    assert time.process_time() - started < 3
