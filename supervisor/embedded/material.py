"""Reads what a crew has gathered: headlines, sentences, sources, dates, remarks.

Pure functions, used by answer.py. They understand what tools and agents usually return:
labelled lines, Markdown, JSON and Python literals, "title, address, excerpt" paragraphs of
search tools, and plain prose. What compose.py writes, this file reads back unchanged.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from supervisor.embedded.texts import data_in, day_of, sentences, urls, words

REMARKS = "Remarks"
MOST_ITEMS = 200
MOST_LINE_CHARS = 4000
MOST_TITLE_CHARS = 300
DEEPEST = 6

# The names under which tools and models give the same thing.
# In this order: "source_url" is an address, "source_name" a source.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "link": ("link", "url", "href", "address", "uri"),
    "date": ("date", "published", "published_at", "updated", "day", "time", "timestamp"),
    "source": ("source", "publisher", "feed", "site", "author", "outlet"),
    "topic": ("topic", "category", "tag", "section"),
    "text": ("summary", "text", "description", "snippet", "content", "body", "excerpt"),
    "title": ("title", "headline", "name", "heading", "subject"),
}
_FIELD_OF = {name: field for field, names in FIELDS.items() for name in names}

_LABEL = re.compile(r"(?:[-*+]\s+)?\**([A-Za-z][A-Za-z_ ]{1,15}?)\**\s?:\**\s+(\S.*)")
_HEADING = re.compile(r"(#{1,6})\s+(\S.*)")
_BULLET = re.compile(r"(?:[-*+\u2022]|\d{1,3}[.)])\s+(\S.*)")
_BOLD = re.compile(r"\*\*([^*]{3,300})\*\*[ :.\u2013\u2014-]{0,4}(.*)")
_CREDIT = re.compile(r"[*_]([^*_].*)[*_]")
_LINK = re.compile(r"\[([^\]]{1,300})\]\((https?://[^)\s]{1,2000})\)")
_REMARK = re.compile(r"(?:could not|cannot|unable to|failed to)\s[^:]{3,300}:", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One thing that was found: a story, a search result, a record."""

    title: str = ""
    text: str = ""
    source: str = ""
    date: str = ""
    link: str = ""
    topic: str = ""

    @property
    def key(self) -> str:
        """Two items with the same key are the same story."""
        return " ".join(sorted(words(self.title or self.text[:200])))

    def filled_from(self, other: "Item") -> "Item":
        """Return this item with what only the other one knows."""
        mine, theirs = asdict(self), asdict(other)
        return Item(**{name: mine[name] or theirs[name] for name in mine})


@dataclass(frozen=True)
class Material:
    """All that was found. `prose` is what belongs to no item; `remarks` what went wrong."""

    title: str = ""
    items: tuple[Item, ...] = ()
    remarks: tuple[str, ...] = ()
    prose: str = ""

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing at all to tell."""
        return not (self.items or self.remarks or self.prose)


def read_material(texts: Iterable[str]) -> Material:
    """Read several texts as one; the same story is kept once."""
    reader = _Reader()
    for text in texts:
        if (data := data_in(text)) is not None:
            for item in _items_of(data):
                reader.add(item)
        else:
            reader.read(text)
    return reader.material()


class _Reader:
    """Goes through lines, front to back, with one item in hand."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._item: Item | None = None
        self._is_open_heading = False  # the item is a heading that nothing has followed yet
        self._is_point = False  # the item is a point of a list
        self._topic = ""
        self._title = ""
        self._prose: list[str] = []
        self._remarks: dict[str, None] = {}
        self._in_remarks = False

    def material(self) -> Material:
        self._close()
        return Material(
            self._title,
            tuple(self._items.values())[:MOST_ITEMS],
            tuple(self._remarks),
            "\n".join(self._prose).strip(),
        )

    def add(self, item: Item) -> None:
        """Keep an item; one that is there already gains what it lacked."""
        if not item.title and item.text:
            first, *others = sentences(item.text)
            item = replace(item, title=first[:MOST_TITLE_CHARS], text=" ".join(others))
        if item.title:
            known = self._items.get(item.key)
            self._items[item.key] = known.filled_from(item) if known else item

    def read(self, text: str) -> None:
        self._close()
        self._topic, self._in_remarks = "", False
        lines = [line.strip()[:MOST_LINE_CHARS] for line in text.splitlines()]
        for number, line in enumerate(lines):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if following.startswith(("http://", "https://")) and " " not in following and line:
                self._open(Item(title=line.strip("#* ")))  # how search tools answer
            else:
                self._take(line)
        self._close()

    def _take(self, line: str) -> None:
        if not line or set(line) <= set("-=*_`"):
            if self._item is None:
                self._prose.append("")
        elif heading := _HEADING.fullmatch(line):
            self._take_heading(len(heading[1]), heading[2].strip("*# "))
        elif self._in_remarks or _REMARK.match(line.lstrip("-*+ ")):
            self._remarks[line.lstrip("-*+ ")] = None
        elif not (self._take_label(line) or self._take_headline(line) or self._take_credit(line)):
            self._take_text(line)

    def _take_heading(self, level: int, title: str) -> None:
        self._in_remarks = title.casefold() == REMARKS.casefold()
        if self._is_open_heading and self._item is not None:
            self._topic, self._item = self._item.title, None
        self._close()
        if level == 1 or self._in_remarks:
            self._title = self._title or ("" if self._in_remarks else title)
            self._topic = ""
            return
        if level == 2:
            self._topic = ""
        self._open(Item(title=title), is_heading=True)

    def _take_label(self, line: str) -> bool:
        label = _LABEL.fullmatch(line)
        field = _FIELD_OF.get(label[1].strip().casefold().replace(" ", "_")) if label else None
        if label is None or field is None:
            return False
        value = label[2].strip("* ")
        if field == "title":
            self._open(Item(title=value))
        elif self._item is not None:
            self._is_open_heading = False
            self._item = replace(self._item, **{field: _joined(getattr(self._item, field), value)})
        else:
            return False
        return True

    def _take_headline(self, line: str) -> bool:
        """Take `**Headline** text`, `- [Headline](address) text` and plain list points."""
        bullet = _BULLET.fullmatch(line)
        body = bullet[1] if bullet else line
        if bold := _BOLD.fullmatch(body):
            title, rest = bold[1], bold[2]
        elif bullet and (link := _LINK.match(body)):
            title, rest = link[0], body[link.end() :]
        elif bullet and (self._item is None or self._is_open_heading or self._is_point):
            first, *others = sentences(body)
            title, rest = first.rstrip("."), " ".join(others)
        else:
            return False
        link = _LINK.search(title)
        self._open(Item(title=link[1] if link else title.strip(), link=link[2] if link else ""))
        self._is_point = bullet is not None
        if rest.strip(" -:.\u2013\u2014"):
            self._take_text(rest.strip(" -:\u2013\u2014"))
        return True

    def _take_credit(self, line: str) -> bool:
        """Take `*Source · 9 February 2026 · [Read more](address)*`."""
        credit = _CREDIT.fullmatch(line)
        if credit is None or self._item is None or "\u00b7" not in line:
            return False
        for part in (p.strip() for p in credit[1].split("\u00b7")):
            if link := _LINK.search(part):
                self._item = replace(self._item, link=link[2])
            elif day := day_of(part):
                self._item = replace(self._item, date=day.isoformat())
            else:
                self._item = replace(self._item, source=part)
        return True

    def _take_text(self, line: str) -> None:
        bullet = _BULLET.fullmatch(line)
        text = bullet[1] if bullet else line
        if self._item is None:
            self._prose.append(text)
            return
        self._is_open_heading = False
        if text.startswith(("http://", "https://")) and " " not in text:
            self._item = replace(self._item, link=text)
        else:
            self._item = replace(self._item, text=_joined(self._item.text, text))

    def _open(self, item: Item, *, is_heading: bool = False) -> None:
        if self._is_open_heading and self._item is not None:
            self._topic, self._item = self._item.title, None
        self._close()
        self._item = replace(item, topic=item.topic or self._topic)
        self._is_open_heading = is_heading

    def _close(self) -> None:
        if self._item is not None:
            day = day_of(self._item.date) if self._item.date else None
            link = next(iter(urls(self._item.link)), "")
            date = day.isoformat() if day else self._item.date
            self.add(replace(self._item, link=link, date=date))
        self._item, self._is_open_heading, self._is_point = None, False, False


def _joined(before: str, after: str) -> str:
    """Join two lines of one item; what exceeds any sensible story is left out."""
    return f"{before} {after}"[:MOST_LINE_CHARS] if before else after


def _items_of(data: Any, depth: int = 0) -> Iterator[Item]:
    """Yield the records in JSON that look like something found."""
    if depth > DEEPEST:
        return
    if isinstance(data, Mapping):
        item = _item_of(data)
        if item.title or (item.text and not any(isinstance(v, list) for v in data.values())):
            yield item
            return
        for value in data.values():
            yield from _items_of(value, depth + 1)
    elif isinstance(data, list):
        for value in data[:MOST_ITEMS]:
            if isinstance(value, str) and value.strip():
                yield Item(title=value.strip()[:MOST_LINE_CHARS])
            else:
                yield from _items_of(value, depth + 1)


def _item_of(record: Mapping[Any, Any]) -> Item:
    found: dict[str, str] = {}
    for key, value in record.items():
        field = _FIELD_OF.get(str(key).casefold())
        if field and field not in found and isinstance(value, str | int | float):
            found[field] = str(value).strip()[:MOST_LINE_CHARS]
    return Item(**found)
