"""Gets the bytes of a feed: from the web, or from this plugin's own folder feeds.

Settings come from users of the application, so a name is hostile until checked: only http
and https are fetched, only plain names inside feeds/ are opened, and size, time and the
number of redirects are bounded.
"""

import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

FEEDS = Path(__file__).resolve().parents[2] / "feeds"
MAX_BYTES = 2 * 1024 * 1024
MOST_REDIRECTS = 3
ONE_FEED_WITHIN_S = 20.0
TIMEOUTS = httpx.Timeout(10.0, connect=5.0)

# No identity is asked of us, and no compressed bomb is unpacked.
HEADERS = {
    "User-Agent": "crewpool-daily-news-digest/1.0",
    "Accept": "application/atom+xml, application/rss+xml, application/xml;q=0.9, */*;q=0.5",
    "Accept-Encoding": "identity",
}

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class FeedRefused(Exception):  # noqa: N818  # named for what happened
    """A feed that the settings may not name."""

    def __init__(self) -> None:
        super().__init__(
            "refused. Feeds are addresses with http:// or https://, "
            "or names of files in the plugin's folder feeds"
        )


class FeedUnreadable(Exception):  # noqa: N818  # named for what happened
    """A feed that is not there, too large, too slow, or no feed at all."""


def read_feed(feed: str, deadline: float) -> bytes:
    """Return the bytes of a feed. `deadline` is a point of time.monotonic()."""
    try:
        parts = urlsplit(feed)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        raise FeedRefused from None
    if is_web:
        return _fetched(feed, min(deadline, time.monotonic() + ONE_FEED_WITHIN_S))
    if not _FILE_NAME.fullmatch(feed):
        raise FeedRefused
    path = (FEEDS / feed).resolve()
    if path.parent != FEEDS:  # a link that leads out of the folder
        raise FeedRefused
    if not path.is_file():
        have = ", ".join(sorted(p.name for p in FEEDS.iterdir() if p.is_file()))
        raise FeedUnreadable(f"there is no such file in the plugin's folder feeds (have: {have})")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    _check_size(len(data))
    return data


def _fetched(url: str, deadline: float) -> bytes:
    data = bytearray()
    try:
        with (
            httpx.Client(
                headers=HEADERS,
                timeout=TIMEOUTS,
                follow_redirects=True,
                max_redirects=MOST_REDIRECTS,
            ) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise FeedUnreadable(f"the server answered {answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise FeedUnreadable("the server sends it compressed, though not asked to")
            for part in answer.iter_raw():
                data += part
                _check_size(len(data))
                if time.monotonic() > deadline:
                    raise FeedUnreadable("it took too long")
    except httpx.TooManyRedirects:
        raise FeedUnreadable(f"more than {MOST_REDIRECTS} redirects") from None
    except httpx.TimeoutException:
        raise FeedUnreadable("the server did not answer in time") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FeedUnreadable(f"{type(error).__name__}: {str(error)[:200]}") from None
    return bytes(data)


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise FeedUnreadable(f"it is larger than {MAX_BYTES // 1024 // 1024} MiB")
