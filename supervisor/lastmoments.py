"""How the last moments of a run are told, from the facts that its post-mortem left.

For commands: runs show, dlq show, explain. The facts are read back from Redis, where anybody
may have written them.
"""

import json
from collections.abc import Mapping
from typing import Any

_KINDS = {
    "burning_cpu": "It was burning CPU",
    "waiting_on_socket": "It was waiting on a socket",
    "waiting_on_child": "It was waiting for a program that it had started",
    "sleeping": "It was sleeping",
    "deadlocked": "It was deadlocked: each of its threads waited for another",
    "unknown": "What it waited for is not known",
}
MOST_CHARACTERS = 200


def told(facts: Mapping[str, Any]) -> str:
    """Return a sentence; "" for facts without a stall.

    >>> told({"stall": "waiting_on_socket", "peers": ["10.0.0.7:443"], "call": "gpt-4o"})
    'It was waiting on a socket to 10.0.0.7:443, in a call of gpt-4o.'
    """
    sentence = _KINDS.get(str(facts.get("stall")), "")
    if not sentence:
        return ""
    if facts.get("stall") == "burning_cpu" and (cores := facts.get("cores")):
        sentence += f" ({_short(cores)} cores)"
    peers = facts.get("peers")
    if facts.get("stall") == "waiting_on_socket" and isinstance(peers, list) and peers:
        sentence += f" to {' and '.join(map(_short, peers[:8]))}"
    if facts.get("task") and facts.get("tasks"):
        sentence += f", in task {_short(facts['task'])} of {_short(facts['tasks'])}"
    for key, word in (("agent", "agent"), ("tool", "tool"), ("call", "in a call of")):
        if facts.get(key):
            sentence += f", {word} {_short(facts[key])}"
    return f"{sentence}."


def read(text: str) -> dict[str, Any]:
    """Return the facts that stand in a field; {} when it holds none."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:MOST_CHARACTERS]
