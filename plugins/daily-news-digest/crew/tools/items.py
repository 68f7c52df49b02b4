"""Turns the bytes of a feed into items, and picks those on a topic. No I/O.

Feeds are hostile until parsed: tags are dropped, lengths are cut, and the parser is given
bytes in memory, for it would open a text that looks like a file name or an address.
"""

import io
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import feedparser

from .reading import FeedUnreadable

MOST_ITEMS_A_FEED = 200
MOST_ITEMS = 20
MOST_TITLE_CHARS = 200
MOST_SUMMARY_CHARS = 800
MOST_LINK_CHARS = 500

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Item:
    """One story of a feed. `day` is an ISO date, or "" when the feed has none."""

    title: str
    source: str
    day: str
    link: str
    summary: str
    categories: tuple[str, ...]


def items_of(feed: bytes) -> list[Item]:
    """Return the items of an RSS or Atom feed. Raises FeedUnreadable."""
    parsed = feedparser.parse(io.BytesIO(feed))
    if not parsed.get("version") and not parsed.entries:
        raise FeedUnreadable("it is no RSS or Atom feed")
    source = plain(parsed.feed.get("title", ""), MOST_TITLE_CHARS)
    return [_item(entry, source) for entry in parsed.entries[:MOST_ITEMS_A_FEED]]


def matching(items: list[Item], topics: list[str]) -> list[tuple[str, Item]]:
    """Return the items on the topics: in the order of the topics, the newest first."""
    chosen: dict[Item, str] = {}
    for topic in topics:
        for item in sorted(items, key=lambda item: item.day, reverse=True):
            if item.title and item not in chosen and is_on(item, topic):
                chosen[item] = topic
    return [(topic, item) for item, topic in chosen.items()][:MOST_ITEMS]


def is_on(item: Item, topic: str) -> bool:
    """Say whether an item is on a topic: by its categories, else by its words.

    Categories are the editors' own judgement: where there are some, a word that merely occurs
    in the summary does not count.
    """
    wanted = _words(topic)
    if not wanted:
        return False
    if any(wanted <= _words(category) for category in item.categories):
        return True
    text = item.title if item.categories else f"{item.title} {item.summary} {item.source}"
    return wanted <= _words(text)


def plain(text: str, most: int) -> str:
    """Return a text without tags, on one line, cut at the end of a word."""
    parser = _Text()
    parser.feed(text[: 20 * most])
    parser.close()
    line = " ".join("".join(parser.parts).split())
    return line if len(line) <= most else line[:most].rsplit(" ", 1)[0] + " …"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        self.parts.append(" " if tag in ("p", "br", "li", "div", "td") else "")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in ("script", "style")))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _item(entry: Mapping[str, Any], source: str) -> Item:
    link = str(entry.get("link", ""))
    is_web = link.startswith(("http://", "https://")) and len(link) <= MOST_LINK_CHARS
    return Item(
        title=plain(str(entry.get("title", "")), MOST_TITLE_CHARS).lstrip("#*- "),
        source=source,
        day=_day(entry),
        link=link.split(maxsplit=1)[0] if is_web else "",
        summary=plain(_summary(entry), MOST_SUMMARY_CHARS),
        categories=tuple(_categories(entry)),
    )


def _summary(entry: Mapping[str, Any]) -> str:
    if summary := entry.get("summary"):
        return str(summary)
    return "".join(str(part.get("value", "")) for part in entry.get("content", [])[:1])


def _categories(entry: Mapping[str, Any]) -> Iterator[str]:
    for tag in entry.get("tags", [])[:20]:
        if term := plain(str(tag.get("term") or ""), 60):
            yield term.casefold()


def _day(entry: Mapping[str, Any]) -> str:
    moment = entry.get("published_parsed") or entry.get("updated_parsed")
    return time.strftime("%Y-%m-%d", moment) if moment else ""


def _words(text: str) -> set[str]:
    """Return the words of a text in the singular."""
    return {_singular(word) for word in _WORD.findall(text.casefold())}


def _singular(word: str) -> str:
    if len(word) <= 3:
        return word
    return f"{word[:-3]}y" if word.endswith("ies") else word.removesuffix("s")
