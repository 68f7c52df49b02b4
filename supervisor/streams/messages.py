"""The words of the control channel: an order to a supervisor and the reply to it.

Used by control.py, the supervisor's end, and asking.py, the end of commands. Pure: it sends
and reads nothing. Whatever stands in a message is hostile until `parse` returned an Order.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.streams.keys import Keys
from supervisor.streams.script_loader import decoded

KINDS = ("cancel", "pause", "resume", "drain", "scale", "reload", "ping")
MOST_WORKERS = 512
MOST_REASON = 200
# What control streams and streams of replies may grow to, and how long they are kept.
MOST_MESSAGES = 1000
MOST_REPLIES = 100
MESSAGES_TTL_S = 86_400
REPLIES_TTL_S = 60
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORKERS = re.compile(r"[0-9]{1,3}")
_RUN_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Order:
    """What a supervisor is told to do, checked.

    `at_ms` is Redis' clock when it got the message; `is_old` when that was before this
    supervisor listened. `reply_to` is "" where nobody waits.
    """

    kind: str
    at_ms: int
    id: str = ""
    reply_to: str = ""
    run: str = ""
    workers: int = 0
    reason: str = ""
    is_old: bool = False

    def fields(self) -> dict[str, str]:
        """Return the fields of the message that says this."""
        facts = {"kind": self.kind, "id": self.id, "reply_to": self.reply_to}
        facts |= {"run": self.run, "reason": self.reason}
        facts |= {"workers": str(self.workers)} if self.kind == "scale" else {}
        return {name: text for name, text in facts.items() if text}


@dataclass(frozen=True)
class BadMessage:
    """What is wrong with a message, and whom to tell: "" where that is wrong, too."""

    problem: str
    id: str = ""
    reply_to: str = ""


@dataclass(frozen=True)
class Reply:
    """What one supervisor answers. `facts` are figures for programs."""

    host: str
    id: str
    ok: bool
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, str]:
        """Return the fields of the entry that says this."""
        return {
            "id": self.id,
            "host": self.host,
            "ok": "1" if self.ok else "0",
            "text": self.text,
            # ASCII: a name that is no UTF-8 must not end the reply.
            "data": json.dumps(self.facts, default=str),
        }


def parse(entry_id: str, fields: Mapping[str, str], keys: Keys) -> Order | BadMessage:
    """Check a message. Never raises for anything that somebody can write."""
    asker, reply_to = fields.get("id", ""), fields.get("reply_to", "")
    if reply_to and not is_reply_stream(reply_to, keys):
        # Not answered: nobody may make us write where he likes.
        return BadMessage(f"reply_to {reply_to[:80]!r} is no stream of replies")
    if asker and not _ID.fullmatch(asker):
        return BadMessage(
            f"id must be 1 to 64 letters, digits, _ or -: {asker[:80]!r}", "", reply_to
        )
    kind, run, workers = (fields.get(name, "") for name in ("kind", "run", "workers"))
    if problem := _problem_of(kind, run, workers):
        return BadMessage(problem, asker, reply_to)
    return Order(
        kind=kind,
        at_ms=milliseconds_of(entry_id),
        id=asker,
        reply_to=reply_to,
        run=run if kind == "cancel" else "",
        workers=int(workers) if kind == "scale" else 0,
        reason=_UNPRINTABLE.sub("?", fields.get("reason", ""))[:MOST_REASON],
    )


def reply_of(fields: Mapping[str, str]) -> Reply | None:
    """Read a reply; None when it is none."""
    try:
        facts = json.loads(fields.get("data") or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict) or "host" not in fields or "id" not in fields:
        return None
    return Reply(
        fields["host"], fields["id"], fields.get("ok") == "1", fields.get("text", ""), facts
    )


def new_reply_stream(keys: Keys) -> str:
    """Name a stream for the replies to one question."""
    return keys.messages_to(f"reply:{secrets.token_hex(16)}")


def is_reply_stream(name: str, keys: Keys) -> bool:
    """Whether a name is one that new_reply_stream() can have made, here or elsewhere."""
    # No host is called so: there is no colon in their names.
    return bool(re.fullmatch(re.escape(keys.messages_to("reply:")) + "[0-9a-f]{8,64}", name))


def milliseconds_of(entry_id: str) -> int:
    """Return the time in an entry's id.

    >>> milliseconds_of("1700000000123-5")
    1700000000123
    """
    return place_of(entry_id)[0]


def place_of(entry_id: str) -> tuple[int, int]:
    """Return an entry's id as it is ordered.

    >>> place_of("9-10") > place_of("9-9") > place_of("8")
    True
    """
    first, _, second = entry_id.partition("-")
    return int(first), int(second or 0)


def pages_of(answer: Any) -> list[tuple[str, list[Any]]]:
    """Return what XREAD brought, by stream: RESP2 answers with pairs, RESP3 with a dictionary."""
    if isinstance(answer, dict):
        pairs = [(stream, entries) for stream, pages in answer.items() for entries in pages]
    else:
        pairs = [(stream, entries) for stream, entries in answer or ()]
    return [(decoded(stream), decoded(entries)) for stream, entries in pairs if entries]


def _problem_of(kind: str, run: str, workers: str) -> str:
    if kind not in KINDS:
        return f"kind must be one of {', '.join(KINDS)}: {kind[:80]!r}"
    if kind == "cancel" and not _RUN_ID.fullmatch(run):
        return f"run must be 1 to 128 printable characters: {run[:80]!r}"
    if kind == "scale" and not (_WORKERS.fullmatch(workers) and int(workers) <= MOST_WORKERS):
        return f"workers must be a number from 0 to {MOST_WORKERS}: {workers[:80]!r}"
    return ""
