"""For everything that a producer may write into a stream."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from supervisor import verdicts
from supervisor.streams.endings import Bury
from supervisor.streams.wire import Entry, Rejected, Request, parse, safe_payload

SECRET = "sk-0123456789abcdef"
ANY_TEXT = st.text(st.characters(), max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
IDS = ANY_TEXT | st.just("r-1") | st.none() | st.integers()
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "plugin_run_id": IDS,
        "plugin_name": ANY_TEXT | st.just("echoes"),
        "user_id": st.integers() | st.floats() | st.none() | st.booleans(),
        "settings": VALUES,
        "more": VALUES,
    },
)
PAYLOADS = st.one_of(
    ANY_TEXT,
    BODIES.map(json.dumps),
    VALUES.map(json.dumps),
    st.binary(max_size=60).map(lambda b: b.decode("utf-8", "surrogateescape")),
    st.tuples(BODIES.map(json.dumps), st.integers(0, 100)).map(lambda p: p[0][: p[1]]),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "payload": PAYLOADS,
        "schema_version": st.just("v1") | ANY_TEXT,
        "attempt": st.just("2") | ANY_TEXT,
        "published_at": st.just("1771000000") | ANY_TEXT,
    },
)


def entry_of(fields, *, is_whole=True):
    return Entry("plugin:requests", "1-1", fields, len(fields.get("payload", "")), is_whole)


@given(FIELDS, st.booleans())
@example({"payload": "[" * 100_000}, True)
@example({"payload": "1" * 100_000}, True)
@example({"payload": '{"plugin_run_id":"\\ud83d"}'}, True)
def test_an_entry_becomes_a_request_or_a_reason_and_never_an_exception(fields, is_whole):
    entry = entry_of(fields, is_whole=is_whole)

    parsed = parse(entry, 1000)

    if isinstance(parsed, Request):
        assert 0 < len(parsed.run_id) <= 128
        json.dumps({"s": parsed.settings, "r": parsed.run_id}, ensure_ascii=False).encode()
    else:
        assert parsed.reason
        assert 0 < len(parsed.error) < 1000
    assert 1 <= entry.attempt <= 9999
    assert entry.published_at is None or entry.published_at >= 0


@given(FIELDS, st.booleans())
def test_every_rejection_can_be_buried_and_published(fields, is_whole):
    entry = entry_of(fields, is_whole=is_whole)
    rejected = parse(entry, 1000)
    if isinstance(rejected, Rejected):
        ending = verdicts.of_rejected(entry, rejected, verdicts.Context("host.s0", 3))

        assert isinstance(ending, Bury)
        for text in (ending.letter.payload, *ending.letter.facts.values()):
            text.encode("utf-8", "surrogateescape")
        if ending.result:
            assert json.loads(ending.result.payload())["plugin_run_id"] == rejected.run_id


@given(PAYLOADS, st.integers(1, 10))
def test_parsing_tells_the_same_every_time(payload, times):
    """Another supervisor that reclaims the entry must come to the same verdict."""
    answers = {repr(parse(entry_of({"payload": payload}), 1000)) for _ in range(times)}

    assert len(answers) == 1


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda t: f"_{t}")


@st.composite
def requests_with_a_secret(draw):
    """A request that holds a credential somewhere below `settings`, with JSON around it."""
    hidden = draw(st.sampled_from([SECRET, [SECRET], {"k": SECRET}, {"k": [{"d": SECRET}]}]))
    around = draw(st.dictionaries(ANY_TEXT.map(lambda t: f"a{t}"), VALUES, max_size=3))
    settings = {**around, draw(KEYS): hidden}
    for _ in range(draw(st.integers(0, 3))):
        settings = draw(st.sampled_from([{"deeper": settings}, {"list": [1, settings]}]))
    return json.dumps(
        {"plugin_run_id": "r-1", "settings": settings}, ensure_ascii=draw(st.booleans())
    )


@given(requests_with_a_secret())
def test_a_credential_is_masked_wherever_it_stands(payload):
    assert SECRET not in safe_payload(entry_of({"payload": payload}))


@given(requests_with_a_secret(), st.integers(0, 400), st.booleans())
def test_a_credential_is_not_kept_of_broken_text_either(payload, cut, at_the_end):
    broken = payload[:-cut] if at_the_end and cut else payload[cut:] if cut else payload + "}"
    kept = safe_payload(entry_of({"payload": broken}))

    # What was cut away at the beginning may have been the key itself: then nobody can tell.
    if '"_' in broken[: broken.find(SECRET)]:
        assert SECRET not in kept


@given(PAYLOADS)
def test_what_is_kept_is_bounded_by_what_came(payload):
    kept = safe_payload(entry_of({"payload": payload}))

    assert len(kept) <= 12 * len(payload) + 100
