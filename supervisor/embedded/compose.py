"""Writes Markdown from what was found: a title, one line that sums up, a section a topic.

Pure functions, used by answer.py. A document of ours that is read and composed again comes
out the same, so that three agents in a row do not wear it down or pile things up.
"""

import re
from dataclasses import dataclass
from datetime import date

from supervisor.embedded.conversation import NOTE, NOTE_HEADING, without_note
from supervisor.embedded.material import REMARKS, Item, Material
from supervisor.embedded.texts import (
    NUMBERS,
    day_of,
    in_words,
    listed,
    long_date,
    number_of,
    quoted,
    sentences,
    words,
)

MOST_SENTENCES = 4
MOST_PROSE_SENTENCES = 8
MOST_TITLE_CHARS = 120
MOST_SOURCES_NAMED = 4
MOST_TITLES_NAMED = 5

_NUMBER = rf"(\d{{1,3}}|{'|'.join(NUMBERS)})"
_SENTENCES = re.compile(
    rf"\b{_NUMBER}(?:(?:\s+(?:to|or)\s+|-){_NUMBER})?\s+(?:\w+\s+)?sentences?\b", re.IGNORECASE
)
_THINGS = r"(?:\w+\s+){0,3}(?:bullet|point|item|stor|article|headline|news|result|finding|entr)"
_AT_MOST = re.compile(
    rf"\b(?:top|at most|up to|no more than|maximum of|exactly|with)\s+{_NUMBER}\s+{_THINGS}",
    re.IGNORECASE,
)
_NEWS = re.compile(r"\b(?:news|story|stories|headlines?)\b", re.IGNORECASE)
_TITLE = re.compile(r"[\"“`]#\s+([^\"”`\n]{3,200})[\"”`]")
_NAMED = re.compile(r"\b(?:titled|called|title|heading)\s?:?\s[\"“`]([^\"”`\n]{3,200})[\"”`]")
_EXAMPLE = re.compile(r"\b(?:such as|for example|e\.g\.|for instance|like this)\W{0,3}$")
# What CrewAI takes for an order in a text; a headline must not become one.
_ORDER = re.compile(r"\b(Final Answer|Action Input|Observation)(\s*\d*)\s*:")


@dataclass(frozen=True)
class Wish:
    """What a prompt asks of the form: the title, and how much at most."""

    title: str = ""
    most_sentences: int = MOST_SENTENCES
    most_items: int | None = None
    unit: tuple[str, str] = ("finding", "findings")


def read_wish(prompt: str) -> Wish:
    """Find in a prompt how the answer should look."""
    title = _TITLE.search(prompt) or _NAMED.search(prompt)
    counts = [
        number_of(word)
        for found in _SENTENCES.finditer(prompt[:8000])
        for word in found.groups()
        if word
    ]
    at_most = _AT_MOST.search(prompt[:8000])
    is_news = _NEWS.search(prompt[:8000])
    return Wish(
        title=title[1].strip() if title else "",
        most_sentences=max((n for n in counts if n), default=MOST_SENTENCES),
        most_items=number_of(at_most[1]) if at_most else None,
        unit=("story", "stories") if is_news else ("finding", "findings"),
    )


def document(material: Material, wish: Wish, about: str) -> str:
    """Return the whole answer in Markdown, without the remark on its origin."""
    title = wish.title or material.title or _capital(about)[:MOST_TITLE_CHARS]
    items = material.items[: wish.most_items]
    parts = [f"# {title}"] if title else []
    if items:
        parts += [_lead(items, wish), *_sections(items, wish)]
    elif material.prose:
        parts.append(_gist(material.prose, about, wish))
    else:
        parts.append(f"No {wish.unit[0]} was found.")
    if material.remarks:
        remarks = "\n".join(f"- {remark}" for remark in material.remarks)
        parts.append(f"## {REMARKS}\n\n{remarks}")
    return "\n\n".join(part for part in parts if part)


def with_note(text: str) -> str:
    """Return the text with the remark on its origin, exactly once, at its end."""
    body = without_note(text)
    has_sections = re.search(r"^## ", body, re.MULTILINE)
    note = f"{NOTE_HEADING}\n\n{NOTE}" if has_sections else f"*{NOTE}*"
    return f"{body}\n\n{note}" if body else note


def without_orders(text: str) -> str:
    """Return the text without words that CrewAI's parser would obey."""
    return _ORDER.sub(r"\1\2 -", text)


def example_in(prompt: str) -> str:
    """Return the sample answer that a prompt quotes ("such as …"), or ""."""
    prompt = prompt[:8000]
    for mark in re.finditer(r"[\"“`]", prompt):
        if _EXAMPLE.search(prompt[max(0, mark.start() - 40) : mark.start()]):
            return quoted(prompt[mark.start() :])
    return ""


def lead_of(items: tuple[Item, ...], wish: Wish) -> str:
    """Sum up: how many, on what, from whom, of when."""
    number = len(items)
    text = f"{_capital(in_words(number))} {wish.unit[number > 1]}"
    topics = list(dict.fromkeys(item.topic.casefold() for item in items if item.topic))
    sources = list(dict.fromkeys(item.source for item in items if item.source))
    days = sorted(day for item in items if item.date and (day := day_of(item.date)))
    if topics:
        text += f" on {listed(topics)}"
    if 0 < len(sources) <= MOST_SOURCES_NAMED:
        text += f", from {listed(sources)}"
    elif sources:
        text += f", from {len(sources)} sources"
    if days:
        text += f", {_span(days[0], days[-1])}"
    if not (topics or sources or days) and number <= MOST_TITLES_NAMED:
        text += f": {'; '.join(item.title for item in items)}"
    return text + "."


def _lead(items: tuple[Item, ...], wish: Wish) -> str:
    return lead_of(items, wish) if any(item.source or item.date for item in items) else ""


def _span(first: date, last: date) -> str:
    if first == last:
        return long_date(first)
    before = long_date(first).split()
    after = long_date(last).split()
    # "9 to 13 February 2026", not the month and the year twice.
    while before and before[-1] == after[len(before) - 1]:
        before.pop()
    return f"{' '.join(before)} to {' '.join(after)}"


def _sections(items: tuple[Item, ...], wish: Wish) -> list[str]:
    topics = list(dict.fromkeys(item.topic for item in items))
    if topics == [""]:
        return ["\n\n".join([f"## {item.title}", *_body(item, wish)]) for item in items]
    return [
        "\n\n".join(
            [
                f"## {_capital(topic) or 'More'}",
                *(
                    "\n\n".join([f"**{item.title}**", *_body(item, wish)])
                    for item in items
                    if item.topic == topic
                ),
            ]
        )
        for topic in topics
    ]


def _body(item: Item, wish: Wish) -> list[str]:
    text = " ".join(sentences(item.text)[: wish.most_sentences])
    day = day_of(item.date) if item.date else None
    facts = {
        "Source": item.source,
        "Date": long_date(day) if day else item.date,
        "Link": f"[Read more]({item.link.replace(')', '%29')})" if item.link else "",
    }
    known = [(label, value) for label, value in facts.items() if value]
    if len(known) == 1:
        label, value = known[0]
        credit = f"{label}: {item.link if label == 'Link' else value}"
    else:
        credit = f"*{' · '.join(value for _, value in known)}*" if known else ""
    return [part for part in (text, credit) if part]


def _gist(prose: str, about: str, wish: Wish) -> str:
    """Return the sentences that have most to do with the task, in their own order."""
    found = list(dict.fromkeys(sentences(prose)))
    most = min(MOST_PROSE_SENTENCES, wish.most_sentences * 2)
    wanted = words(about)
    best = sorted(range(len(found)), key=lambda n: (-len(words(found[n]) & wanted), n))[:most]
    return " ".join(found[n] for n in sorted(best))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
