"""For everything that a crew may return: text that parses, without NUL and half pairs."""

import json

from hypothesis import given
from hypothesis import strategies as st

from worker.crew.output import as_json_text, sections_of

# With surrogates, NUL and everything else that str can hold.
ANY_TEXT = st.text(st.characters(), max_size=100)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.binary(max_size=10)
    | st.decimals(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(ANY_TEXT | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=15,
)
MARKDOWN = st.lists(
    st.sampled_from(
        ["# A", "## B #", "```", "~~~", "", "text", "#x", "\x00", "\ud83d", "\x85", "\f"]
    )
    | ANY_TEXT,
    max_size=15,
).map("\n".join)


def strict(text):
    """Decode as a JSONB column would: no NaN, no NUL, no half pairs."""

    def refuse(constant):
        raise AssertionError(constant)

    text.encode()
    value = json.loads(text, parse_constant=refuse)
    assert "\\u0000" not in json.dumps(value)
    json.dumps(value, ensure_ascii=False).encode()
    return value


@given(ANYTHING)
def test_whatever_a_crew_returns_becomes_json(value):
    strict(as_json_text(value))


@given(MARKDOWN)
def test_whatever_markdown_it_writes_becomes_sections(text):
    found = strict(as_json_text(text))

    assert set(found) == {"summary", "sections", "raw"}
    assert all(set(section) == {"title", "content"} for section in found["sections"])
    assert len(found["summary"]) <= 500 or found["summary"] in [
        section["title"] for section in found["sections"]
    ]


@given(MARKDOWN)
def test_no_word_of_the_text_gets_lost(text):
    found = sections_of(text)
    kept = " ".join(f"{s['title']} {s['content']}" for s in found["sections"]).split()

    assert found["raw"] == text
    for word in text.split():
        if word.isalnum():
            assert any(word in part for part in kept)


@given(
    ANYTHING, st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=12))
)
def test_with_secrets_masked_it_is_still_json(value, secrets):
    text = as_json_text(value, tuple(secrets))

    for part in _texts(strict(text)):
        assert not any(secret in part for secret in secrets if "*" not in secret)


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
