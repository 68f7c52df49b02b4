"""Small questions to a text: its words, sentences, dates, addresses and labelled values.

Pure functions under everything the offline model does. Each looks at a text once, from
front to back: the text may be hostile, and must not make it slow.
"""

import ast
import calendar
import json
import re
from datetime import date
from email.utils import parsedate_to_datetime
from typing import Any

MONTHS = tuple(calendar.month_name)[1:]
NUMBERS = (
    *("one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
MOST_JSON_CHARS = 100_000
SUBJECT_CHARS = 200

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a about all an and any are as at be been but by can do each for from get give go has "
        "have how if in into is it its make may more most must no not of on one only or our out "
        "over should so such than that the their them then there these they this those to up use "
        "used using was we what when where which who will with you your"
    )
)
_CLOSING, _OPENING = "\"'\u201d\u2019)\\]", "\"'\u201c\u2018(\\["
_SENTENCE_END = re.compile(rf"(?:(?<=[.!?])|(?<=[.!?][{_CLOSING}]))\s+(?=[{_OPENING}]?[A-Z0-9])")
_SHORT_FORM = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|e\.g|i\.e|approx|Inc|Co)|\b[A-Z])\.$")
_URL = re.compile(r"https?://[^\s<>\"'`\])},]+")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})")
_DAY_MONTH = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)? ([A-Z][a-z]{2,8}) (\d{4})\b")
_MONTH_DAY = re.compile(r"\b([A-Z][a-z]{2,8}) (\d{1,2})(?:st|nd|rd|th)?, (\d{4})\b")
_SAID = r"\s+([^.;:!?\n]{2,200})"
_ABOUT = re.compile(
    r"\b(?:about|regarding|concerning|on the (?:topics?|subjects?) of)" + _SAID, re.IGNORECASE
)
_ON = re.compile(r"\b(?:on|named|for)" + _SAID)
_ORDER_TO = re.compile(
    r"^(?:research|find|gather|collect|search|summari[sz]e|investigate|analy[sz]e|describe|explain)"
    r"\s+(?:for\s+|out\s+)?(?:the\s+|an?\s+)?",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“«`]([^\"”»`\n]{2,200})[\"”»`]")
_FIELD_JOIN = re.compile(r"[\s_-]+")


def words(text: str) -> set[str]:
    """Return the words that carry meaning, without case and endings.

    >>> sorted(words("The feeds were reading of technologies"))
    ['feed', 'read', 'technology', 'were']
    """
    return {_stem(w) for w in _WORD.findall(text.casefold()) if w not in _STOP_WORDS}


def _stem(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: -len(ending)]
    return word


def sentences(text: str) -> list[str]:
    """Cut a text into sentences; "Dr. Who" stays whole."""
    found: list[str] = []
    for part in _SENTENCE_END.split(" ".join(text.split())):
        if found and _SHORT_FORM.search(found[-1][-12:]):
            found[-1] += " " + part
        elif part:
            found.append(part)
    return found


def urls(text: str) -> list[str]:
    """Return the web addresses in a text, each once."""
    return list(dict.fromkeys(url.rstrip(".") for url in _URL.findall(text)))


def day_of(text: str) -> date | None:
    """Return the first date in a text that is written in one of the usual ways."""
    for pattern, order in ((_ISO_DATE, "ymd"), (_DAY_MONTH, "dmy"), (_MONTH_DAY, "mdy")):
        if found := pattern.search(text[:2000]):
            parts = dict(zip(order, found.groups(), strict=True))
            month = _month(parts["m"])
            try:
                return date(int(parts["y"]), month, int(parts["d"]))
            except ValueError:
                continue
    try:
        return parsedate_to_datetime(text[:100]).date()
    except (ValueError, IndexError):
        return None


def _month(text: str) -> int:
    if text.isdigit():
        return int(text)
    return next((n for n, month in enumerate(MONTHS, 1) if month.startswith(text[:3])), 0)


def long_date(day: date) -> str:
    """Write a date for readers.

    >>> long_date(date(2026, 2, 9))
    '9 February 2026'
    """
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def number_of(word: str) -> int | None:
    """Return the number a word stands for: "12" or "twelve"."""
    if word.isascii() and word.isdigit():
        return int(word[:9])
    return NUMBERS.index(word.lower()) + 1 if word.lower() in NUMBERS else None


def in_words(number: int) -> str:
    """Write a number as a word where that reads better."""
    return NUMBERS[number - 1] if 1 <= number <= len(NUMBERS) else str(number)


def listed(parts: list[str]) -> str:
    """Join as in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def labelled(text: str, name: str) -> str:
    """Return what stands behind `name:` in a text, for any way to write the name.

    >>> labelled("Find news. Search query: solar power", "search_query")
    'solar power'
    """
    stem = _FIELD_JOIN.split(name.strip("_ ").casefold().removesuffix("s"))
    pattern = r"[ _-]".join(re.escape(part) for part in stem)
    found = re.search(
        rf"\b{pattern}s?\W{{0,2}}\s?[:=]\s{{0,4}}([^\n]{{1,1000}})", text, re.IGNORECASE
    )
    first = next(iter(sentences(found[1])), "") if found else ""
    return first.strip(" .*`")


def values_in(text: str) -> list[str]:
    """Read a list as people and programs write it: JSON, Python, commas, "and".

    >>> values_in("['a b', 'c']"), values_in("a b, c and d.")
    (['a b', 'c'], ['a b', 'c', 'd'])
    """
    text = text.strip()
    if text.startswith("[") and isinstance(data := data_in(text[: text.find("]") + 1]), list):
        return [str(part) for part in data if isinstance(part, str | int | float)]
    parts = re.split(r",|;|\band\b|\bor\b", text)
    return [part for part in (p.strip(" .\"'`*") for p in parts) if part]


def data_in(text: str) -> Any:
    """Return the JSON, or Python literal, that a text consists of; None if it is neither."""
    text = text.strip()
    if not text.startswith(("{", "[")) or len(text) > MOST_JSON_CHARS:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def subject(text: str) -> str:
    """Return what a task is about: its labelled topics, its "about …", or its first sentence.

    >>> subject("Research the state of solar power. Be brief.")
    'state of solar power'
    """
    for name in ("topic", "subject", "query", "question"):
        if value := labelled(text, name):
            return listed(values_in(value))[:SUBJECT_CHARS]
    first = next(iter(sentences(text[:2000])), "")
    if found := _ABOUT.search(text[:2000]) or _ON.search(first):
        return found[1].strip(" \"'`*")
    return _ORDER_TO.sub("", first, count=1).rstrip(".:!? ")[:SUBJECT_CHARS]


def quoted(text: str) -> str:
    """Return the first thing in quotation marks or backticks, or ""."""
    found = _QUOTED.search(text[:4000])
    return found[1] if found else ""
