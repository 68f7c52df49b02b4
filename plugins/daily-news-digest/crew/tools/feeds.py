"""The researcher's tool: reads the feeds of the settings, returns the items on the topics.

Which feeds are read is decided by the settings, never by a model: what an agent reads must
not choose what is fetched next.
"""

import time

from crewai.tools import BaseTool
from pydantic import BaseModel, Field

from .items import Item, items_of, matching
from .reading import FeedRefused, FeedUnreadable, read_feed

ALL_FEEDS_WITHIN_S = 60.0


class Topics(BaseModel):
    """What the tool is called with."""

    topics: list[str] = Field(description="The topics to look for, as given in the task")


class ReadFeeds(BaseTool):
    """Reads all feeds; one that cannot be read is reported, and does not hide the others."""

    name: str = "read_feeds"
    description: str = (
        "Read the configured RSS and Atom news feeds and return the items on the given topics: "
        "headline, topic, source, date, link and summary."
    )
    args_schema: type[BaseModel] = Topics
    feeds: list[str]

    def _run(self, topics: list[str]) -> str:
        items: list[Item] = []
        problems: list[str] = []
        deadline = time.monotonic() + ALL_FEEDS_WITHIN_S
        for feed in self.feeds:
            try:
                items += items_of(read_feed(feed, deadline))
            except (FeedRefused, FeedUnreadable) as error:
                problems.append(f"Could not read {feed[:200]!r}: {error}")
        return "\n\n".join([_report(items, topics), *problems])


def _report(items: list[Item], topics: list[str]) -> str:
    found = matching(items, topics)
    wanted = ", ".join(topics)
    if not found:
        known = sorted({topic for item in items for topic in item.categories})
        about = f" They are about: {', '.join(known)}." if known else ""
        return f"None of the {len(items)} items read is on the topics {wanted}.{about}"
    head = f"{len(found)} of the {len(items)} items read are on the topics {wanted}."
    return "\n\n".join([head, *(_block(topic, item) for topic, item in found)])


def _block(topic: str, item: Item) -> str:
    facts = {
        "Topic": topic,
        "Source": item.source,
        "Date": item.day,
        "Link": item.link,
        "Summary": item.summary,
    }
    lines = [f"{label}: {value}" for label, value in facts.items() if value]
    return "\n".join([f"### {item.title}", *lines])
