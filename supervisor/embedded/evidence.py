"""What a prompt, or the material gathered so far, gives away about a field to fill.

Pure classes behind fill.py's `Evidence`: the prompt's words become the arguments of a tool
call, the items found become the fields of a structured answer.
"""

import re
from dataclasses import dataclass
from typing import Self

from supervisor.embedded.conversation import Conversation
from supervisor.embedded.material import FIELDS, Item, Material
from supervisor.embedded.schemas import Schema
from supervisor.embedded.texts import (
    day_of,
    labelled,
    listed,
    number_of,
    quoted,
    sentences,
    subject,
    urls,
    values_in,
)

MOST_QUERY_CHARS = 200
NO_DAY = "2000-01-01"
NO_LINK = "https://example.com/"

_ASKS = re.compile(r"query|question|search|topic|subject|keyword|term|prompt|^q$|^text$")
_LINKS = re.compile(r"url|link|href|website|address|feed|uri")
_DAYS = re.compile(r"date|day|since|until|published|from$|to$")
_FILES = re.compile(r"path|file|folder|directory")
_PATH = re.compile(r"(?:[\w.-]{0,100}/)?[\w-]{1,100}\.[a-z]{2,5}\b")
_ADDRESS = re.compile(r"https?://\S+")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,64}\.[\w.]{2,64}")
_LONG = re.compile(r"content|body|report|markdown|document|raw|answer|text|article|output|result")
_SHORT = re.compile(r"title|headline|subject|name|heading")
_CHOICES = re.compile(r"(?:one of|following)[^:.\n]{0,40}:\s*([^\n.]{1,400})", re.IGNORECASE)
_WORD_BREAK = re.compile(r"[\s_-]+")


@dataclass(frozen=True)
class PromptEvidence:
    """What the task says about the arguments of a tool."""

    conversation: Conversation
    tool_description: str = ""

    def string(self, name: str, schema: Schema) -> str:
        """Return what is labelled with the name, offered as a choice, or of its kind."""
        task = self.conversation.wishes
        if value := labelled(task, name):
            return value
        if choices := _choices(name, str(schema.get("description", "")), self.tool_description):
            return next((choice for choice in choices if self.mentions(choice)), choices[0])
        return self._by_kind(name, str(schema.get("format", "")), task)

    def any_string(self, name: str, schema: Schema) -> str:
        """Return what the task is about, or as much of the task as the name asks for."""
        task, context = self.conversation.task, self.conversation.context
        lower = name.casefold()
        if _LINKS.search(lower) or schema.get("format") == "uri":
            return NO_LINK
        if schema.get("format") in ("date", "date-time"):
            return NO_DAY
        if "context" in lower:
            return context or task
        if lower in ("task", "plan", "instruction", "instructions", "description", "content"):
            return task
        if _ASKS.search(lower):
            about = subject(task)
            return (quoted(task) if len(about) > MOST_QUERY_CHARS else about)[:MOST_QUERY_CHARS]
        return next(iter(sentences(task)), "")[:MOST_QUERY_CHARS]

    def strings(self, name: str) -> list[str]:
        """Return a labelled list, all addresses, or the topics of the task."""
        task = self.conversation.wishes
        if value := labelled(task, name):
            return values_in(value)
        if _LINKS.search(name.casefold()):
            return urls(task)
        return values_in(subject(task)) if _ASKS.search(name.casefold()) else []

    def number(self, name: str) -> float | None:
        """Return the number that the task gives for the name."""
        return number_near(self.conversation.wishes, name)

    def objects(self, name: str) -> list[Self]:  # noqa: ARG002  # Evidence asks so
        """Return nothing: a task lists no records."""
        return []

    def mentions(self, word: str) -> bool:
        """Say whether the word occurs in the task."""
        return bool(re.search(rf"\b{re.escape(word)}\b", self.conversation.wishes, re.IGNORECASE))

    @staticmethod
    def _by_kind(name: str, form: str, task: str) -> str:
        lower = name.casefold()
        if _LINKS.search(lower) or form in ("uri", "url"):
            return next(iter(urls(task)), "")
        if form in ("date", "date-time") or _DAYS.search(lower):
            day = day_of(task)
            return day.isoformat() if day else ""
        if "mail" in lower or form == "email":
            found = _EMAIL.search(task)
        else:
            is_file = _FILES.search(lower)
            found = _PATH.search(_ADDRESS.sub("", task)) if is_file else None
        return found[0] if found else ""


@dataclass(frozen=True)
class MaterialEvidence:
    """What was found, for an answer with a schema. `item` narrows it to one record."""

    material: Material
    document: str
    lead: str
    about: str
    item: Item | None = None
    position: int = 0

    def string(self, name: str, schema: Schema) -> str:
        """Return the field of the record, or of the whole, that the name means."""
        lower = name.casefold()
        field = _field_of(lower)
        value = getattr(self.item, field, "") if self.item else self._whole(lower, field)
        day = day_of(value) if schema.get("format") in ("date", "date-time") else None
        return day.isoformat() if day else value

    def any_string(self, name: str, schema: Schema) -> str:
        """Return the record's text, or the sum of all records."""
        if schema.get("format") in ("date", "date-time"):
            return NO_DAY
        if schema.get("format") in ("uri", "url"):
            return NO_LINK
        if self.item:
            return self.item.text or self.item.title
        return self.lead or self.material.title or self.about or name

    def strings(self, name: str) -> list[str]:
        """Return that field of all records; their titles if the name means none."""
        items = (self.item,) if self.item else self.material.items
        field = _field_of(name.casefold().removesuffix("s")) or "title"
        found = [value for item in items if (value := getattr(item, field))]
        if not found and not self.item:
            found = sentences(self.material.prose) or values_in(self.about)
        return list(dict.fromkeys(found))

    def number(self, name: str) -> float | None:
        """Return the record's position, the number of records, or a number in the text."""
        lower = name.casefold()
        if self.item and re.search(r"number|index|rank|position|order", lower):
            return self.position
        if not self.item and re.search(r"count|total|number", lower):
            return len(self.material.items)
        return number_near(self.document, name)

    def objects(self, name: str) -> list["MaterialEvidence"]:  # noqa: ARG002  # Evidence asks so
        """Return one evidence for each record, or for each sentence without records."""
        if self.item:
            return []
        items = self.material.items or tuple(
            Item(title=sentence[:100], text=sentence) for sentence in sentences(self.material.prose)
        )
        return [
            MaterialEvidence(self.material, self.document, self.lead, self.about, item, number)
            for number, item in enumerate(items, start=1)
        ]

    def mentions(self, word: str) -> bool:
        """Say whether the word occurs in the record, or anywhere."""
        text = f"{self.item.title} {self.item.text}" if self.item else self.document
        return bool(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE))

    def _whole(self, name: str, field: str) -> str:
        items = self.material.items
        sole = items[0] if len(items) == 1 else None
        if _SHORT.search(name):
            return self.material.title or (sole.title if sole else self.about)
        if "summary" in name or "overview" in name or "lead" in name:
            return self.lead
        if _LONG.search(name):
            return self.document
        if "topic" in name or "categor" in name:
            return listed(list(dict.fromkeys(item.topic for item in items if item.topic)))
        return getattr(sole, field, "") if sole else ""


def _field_of(name: str) -> str:
    """Return the field of an item that a name means, or ""."""
    parts = {name, *_WORD_BREAK.split(name)}
    return next((field for field, names in FIELDS.items() if parts & set(names)), "")


def _choices(name: str, about: str, tool: str) -> list[str]:
    """Return what a description offers: "one of: a, b", "the following coworkers: a, b"."""
    found = _CHOICES.search(about[:2000])
    named = re.escape(name.replace("_", " "))
    if found is None and name:
        pattern = rf"following {named}s?:\s*([^\n.]{{1,400}})"
        found = re.search(pattern, tool[:4000], re.IGNORECASE)
    return values_in(found[1]) if found else []


def number_near(text: str, name: str) -> float | None:
    """Return the number that a text gives for a name: "limit 5", "5 results", "page: 2"."""
    stem = re.escape(name.strip("_").replace("_", " ").casefold().removesuffix("s"))
    if len(stem) < 2:
        return None
    number = r"(\d{1,9}(?:\.\d{1,6})?|[a-z]{3,6})"
    for pattern in (rf"\b{stem}s?\W{{1,3}}(?:of |is |to )?{number}\b", rf"\b{number} {stem}s?\b"):
        for found in re.finditer(pattern, text[:20_000].casefold()):
            word = found[1]
            value = float(word) if word[0].isdigit() else number_of(word)
            if value is not None:
                return value
    return None
