"""The feed tool of daily-news-digest: what it reads, what it refuses, what it picks."""

import gzip
import importlib
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from worker.plugins import check_settings, load

PLUGIN = Path(__file__).parents[2] / "plugins" / "daily-news-digest"

RSS = b"""<rss version="2.0"><channel><title>Wire</title>
<item><title>Bees &amp; <b>robots</b></title><link>https://x.example.com/1</link>
<description>&lt;p&gt;They &lt;script&gt;evil()&lt;/script&gt;dance.&lt;/p&gt;</description>
<pubDate>Fri, 13 Feb 2026 23:30:00 -0200</pubDate></item>
<item><title># Choirs sing</title><link>javascript:alert(1)</link></item>
</channel></rss>"""


@pytest.fixture(scope="module")
def tools():
    """The plugin's modules that need no CrewAI, imported as crewpool does it."""
    sys.path.insert(0, str(PLUGIN))
    try:
        yield (
            importlib.import_module("crew.tools.reading"),
            importlib.import_module("crew.tools.items"),
        )
    finally:
        sys.path.remove(str(PLUGIN))
        for name in [n for n in sys.modules if n == "crew" or n.startswith("crew.")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def reading(tools):
    return tools[0]


@pytest.fixture(scope="module")
def items(tools):
    return tools[1]


class Site(BaseHTTPRequestHandler):
    """A web site with everything a feed's address may lead to."""

    def do_GET(self):
        status, headers, body = {
            "/feed": (200, {}, RSS),
            "/moved": (302, {"Location": "/feed"}, b""),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/big": (200, {}, b"x" * (3 << 20)),
            "/packed": (200, {"Content-Encoding": "gzip"}, gzip.compress(RSS)),
            "/name": (200, {}, b"/etc/passwd"),
            "/page": (200, {}, b"<html><title>no feed</title></html>"),
        }.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the reader has had enough

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def soon():
    return time.monotonic() + 30


@pytest.mark.parametrize(
    "feed",
    [
        "../../etc/passwd",
        "../crew/crew.py",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "feed:x",
        "http:",
        "http://[::",
        "//127.0.0.1/x",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "a\x00b",
        "a\nb",
        "",
        "x" * 2000,
    ],
)
def test_a_feed_outside_web_and_folder_is_refused(reading, feed):
    with pytest.raises(reading.FeedRefused, match="names of files in the plugin's folder feeds"):
        reading.read_feed(feed, soon())


def test_a_link_that_leads_out_of_the_folder_is_refused(reading, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "FEEDS", tmp_path)
    (tmp_path / "out.rss").symlink_to("/etc/passwd")

    with pytest.raises(reading.FeedRefused):
        reading.read_feed("out.rss", soon())


def test_a_file_that_is_not_there_names_those_that_are(reading):
    with pytest.raises(reading.FeedUnreadable, match=r"harbour-herald\.rss"):
        reading.read_feed("other.rss", soon())


def test_a_feed_is_read_from_the_web_also_where_it_moved(reading, site):
    assert reading.read_feed(f"{site}/feed", soon()) == RSS
    assert reading.read_feed(f"{site}/moved", soon()) == RSS


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none", "answered 404"),
        ("/loop", "more than 3 redirects"),
        ("/file", "UnsupportedProtocol"),
        ("/big", "larger than 2 MiB"),
        ("/packed", "compressed"),
    ],
)
def test_a_web_site_that_is_no_good_is_named_with_the_reason(reading, site, path, reason):
    with pytest.raises(reading.FeedUnreadable, match=reason):
        reading.read_feed(site + path, soon())


def test_a_feed_is_given_up_at_the_deadline(reading, site):
    with pytest.raises(reading.FeedUnreadable, match="took too long"):
        reading.read_feed(f"{site}/feed", time.monotonic() - 1)


def test_nobody_at_the_address_is_said(reading):
    with pytest.raises(reading.FeedUnreadable, match="ConnectError"):
        reading.read_feed("http://127.0.0.1:1/feed", soon())


def test_a_file_that_is_too_large_is_refused(reading, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "FEEDS", tmp_path)
    with (tmp_path / "big.rss").open("wb") as file:
        os.truncate(file.fileno(), 3 << 20)

    with pytest.raises(reading.FeedUnreadable, match="larger than 2 MiB"):
        reading.read_feed("big.rss", soon())


def test_items_are_plain_text_with_a_date_and_a_web_address(items):
    bees, choirs = items.items_of(RSS)

    assert (bees.title, bees.summary) == ("Bees & robots", "They dance.")
    assert (bees.source, bees.day, bees.link) == ("Wire", "2026-02-14", "https://x.example.com/1")
    assert (choirs.title, choirs.day, choirs.link) == ("Choirs sing", "", "")


@pytest.mark.parametrize("data", [b"", b"/etc/passwd", b"file:///etc/passwd", b"<html></html>"])
def test_what_is_no_feed_is_said_and_never_opened(items, reading, data):
    with pytest.raises(reading.FeedUnreadable, match="no RSS or Atom feed"):
        items.items_of(data)


def test_entities_do_not_explode(items):
    lol = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    bomb = b'<!DOCTYPE r [<!ENTITY l0 "lol">' + lol + b"]><rss version='2.0'><channel><item>"
    bomb += b"<title>&l9;</title></item></channel></rss>"

    started = time.process_time()
    assert all(len(item.title) < 1000 for item in items.items_of(bomb))
    assert time.process_time() - started < 5


def test_entities_do_not_open_files(items):
    feed = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss version="2.0"><channel>'
    feed += b"<item><title>a &x; b</title></item></channel></rss>"

    assert "root:" not in "".join(item.title for item in items.items_of(feed))


def shipped(items, reading):
    names = ("harbour-herald.rss", "meridian-letter.atom")
    return [item for name in names for item in items.items_of(reading.read_feed(name, soon()))]


def test_the_shipped_feeds_hold_thirteen_dated_stories_of_two_formats(items, reading):
    found = shipped(items, reading)

    assert len(found) == 13
    assert {item.source for item in found} == {"The Harbour Herald", "Meridian Science Letter"}
    assert all(item.title and item.summary and item.categories for item in found)
    assert all(item.day.startswith("2026-02-") for item in found)
    assert all(item.link.startswith("https://") and ".example." in item.link for item in found)


def test_items_are_picked_by_topic_the_newest_first(items, reading):
    found = items.matching(shipped(items, reading), ["health", "Business"])

    assert [topic for topic, _ in found] == ["health", "health", "Business", "Business"]
    days = ["2026-02-11", "2026-02-10", "2026-02-12", "2026-02-11"]
    assert [item.day for _, item in found] == days


def test_a_story_on_two_topics_is_told_once(items, reading):
    found = [item for _, item in items.matching(shipped(items, reading), ["science", "climate"])]

    assert len(found) == len(set(found)) == 5


@pytest.mark.parametrize(
    ("topic", "categories", "is_on"),
    [
        ("technology", ("technology",), True),
        ("Technologies", ("technology",), True),
        ("electric cars", ("electric car", "x"), True),
        ("art", ("martial arts",), True),
        ("ai", ("said",), False),
        ("sodium", ("transport",), True),
        ("charge", ("transport",), False),
        ("charge", (), True),
        ("!?", (), False),
    ],
)
def test_a_topic_matches_whole_words_of_categories_or_title(items, topic, categories, is_on):
    item = items.Item("Sodium ferries", "Herald", "", "", "They charge fast.", categories)

    assert items.is_on(item, topic) is is_on


@pytest.mark.parametrize("name", ["daily-news-digest", "hello"])
def test_a_sample_plugin_is_sound_and_runs_without_settings(name):
    plugin = load(PLUGIN.parent / name)

    assert check_settings(plugin, {}).keys() == plugin.schema["properties"].keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"topics": []},
        {"topics": ["x"] * 11},
        {"topics": "technology"},
        {"topics": ["{feeds}"]},
        {"topics": ["a { b"]},
        {"topics": ['a"b']},
        {"topics": ["  "]},
        {"topics": ["a\nb"]},
        {"summary_length": "epic"},
        {"feeds": []},
        {"feeds": [5]},
        {"other": 1},
    ],
)
def test_settings_against_the_schema_are_refused(settings):
    with pytest.raises(Exception, match="Settings do not fit plugin 'daily-news-digest'"):
        check_settings(load(PLUGIN), settings)


def test_crewai_was_not_needed_for_any_of_this():
    assert "crewai" not in sys.modules
