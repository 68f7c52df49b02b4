"""Decides what the offline model says: call a tool, fill a schema, or write a document.

The heart of the offline model, pure: the same request has the same answer. model_server.py
calls `answer()`. It never invents: each word comes from the prompt, from the tools' results,
or from the frame of a document ("Three stories on …").
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from supervisor.embedded.compose import (
    document,
    example_in,
    lead_of,
    read_wish,
    with_note,
    without_orders,
)
from supervisor.embedded.conversation import NOTE, Conversation, read_conversation
from supervisor.embedded.evidence import MaterialEvidence, PromptEvidence
from supervisor.embedded.fill import fill
from supervisor.embedded.material import Item, read_material
from supervisor.embedded.texts import data_in, labelled, listed, subject, values_in, words
from supervisor.embedded.wire import Call, Reply, Request, Tool

MOST_CALLS = 3
MOST_EVIDENCE_CHARS = 20_000

# These tools hand work on or remember; they come last, and never where there is material.
_INDIRECT = re.compile(r"delegate|coworker|memory|remember|human")
_REVIEW = re.compile(
    r"\b(?:review|proofread|edit|polish|check|correct|revise|finali[sz]e|fact-check)", re.IGNORECASE
)
_PROSE_FIELDS = ("summary", "content", "text", "body", "answer", "report", "markdown", "raw")


def answer(request: Request) -> Reply:
    """Return what the offline model says to a checked request."""
    talk = read_conversation(request)
    if (call := _call(talk)) is not None:
        return _as_text(call) if not request.tools else Reply(call=call)
    if talk.schema is not None:
        text = json.dumps(_structured(talk, talk.schema), ensure_ascii=False)
    else:
        text = with_note(without_orders(_text(talk)))
    if talk.is_textual:
        text = f"Thought: I now know the final answer\nFinal Answer: {text}"
    return Reply(_stopped(text, request.stop))


def _as_text(call: Call) -> Reply:
    """Ask for a tool in words, for callers without function calling."""
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    return Reply(
        "Thought: I should look at what the tool returns\n"
        f"Action: {call.name}\nAction Input: {arguments}"
    )


def _stopped(text: str, stop: tuple[str, ...]) -> str:
    ends = [at for word in stop if (at := text.find(word)) >= 0]
    return text[: min(ends, default=len(text))]


def _call(talk: Conversation) -> Call | None:
    """Return the tool call to make now, if any."""
    if talk.request.forced:
        tool = next((t for t in talk.tools if t.name == talk.request.forced), None)
        if tool is not None:  # a forced tool is how some clients ask for a structured answer
            return Call(tool.name, _fitted(_structured(talk, tool.parameters)))
    tried = {result.tool for result in talk.results}
    has_answer = any(not result.is_failure for result in talk.results)
    must_call = talk.request.forced == "*"
    if (has_answer or len(talk.results) >= MOST_CALLS) and not must_call:
        return None
    tool = _best([t for t in talk.tools if t.name not in tried or must_call], talk)
    if tool is None:
        return None
    evidence = PromptEvidence(talk, tool.description)
    return Call(tool.name, _fitted(fill(tool.parameters, evidence, only_needed=True)))


def _fitted(arguments: Any) -> Mapping[str, Any]:
    return arguments if isinstance(arguments, dict) else {}


def _best(tools: list[Tool], talk: Conversation) -> Tool | None:
    """Return the tool whose name and description have most to do with the task."""
    direct = [tool for tool in tools if not _INDIRECT.search(tool.name.casefold())]
    if not direct and (talk.context or talk.results):
        return None
    wanted, task = words(talk.wishes), talk.wishes.casefold()

    def score(tool: Tool) -> int:
        name = tool.name.casefold()
        is_named = name in task or name.replace("_", " ") in task
        return 100 * is_named + len(wanted & words(f"{name.replace('_', ' ')} {tool.description}"))

    return max(direct or tools, key=score, default=None)


def _gathered(talk: Conversation) -> list[str]:
    """Return the texts the answer is made from; tools that failed are no news."""
    return [r.text for r in talk.results if not r.is_failure] + [talk.context] * bool(talk.context)


def _text(talk: Conversation) -> str:
    about = subject(talk.task) or subject(talk.expected)
    texts = _gathered(talk)
    if texts and not talk.results and _REVIEW.search(talk.task) and "# " in talk.context:
        return talk.context.split("\n\n----------\n\n")[-1]  # reviewed: nothing to add
    if texts:
        material = read_material(texts)
        if not material.is_empty:
            return document(material, read_wish(talk.wishes), _heading(talk, about))
    if failures := [result for result in talk.results if result.is_failure]:
        lines = [f"- {result.tool}: {result.text[:300]}" for result in failures]
        head = f"# {about[:1].upper()}{about[1:]}\n\nNo tool has returned anything."
        return "\n".join([head, "", *lines])
    if example := example_in(talk.wishes):
        return example
    return f"There is nothing in the prompt to extract an answer from. The task was: {about}."


def _heading(talk: Conversation, about: str) -> str:
    topics = values_in(labelled(talk.wishes, "topic"))
    return listed(topics) if topics else about


def _structured(talk: Conversation, schema: Mapping[str, Any]) -> Any:
    """Return a value for a schema; {} stands for "any object"."""
    texts = _gathered(talk) or [talk.task]
    if isinstance(found := data_in(texts[-1]), dict) and _has_all(found, schema):
        return found
    material = read_material(texts)
    wish = read_wish(talk.wishes)
    about = subject(talk.task) or material.title
    written = document(material, wish, about)[:MOST_EVIDENCE_CHARS]
    lead = lead_of(material.items, wish) if material.items else material.prose[:500]
    if not schema:
        items = [_record(item) for item in material.items]
        return {"title": material.title or about, "summary": lead, "items": items, "note": NOTE}
    value = fill(schema, MaterialEvidence(material, written, lead, about))
    return _noted(value, schema) if isinstance(value, dict) else value


def _record(item: Item) -> dict[str, str]:
    return {name: value for name, value in vars(item).items() if value}


def _has_all(found: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or not isinstance(properties, dict):
        return not schema
    return bool(required) and set(map(str, required)) <= found.keys() <= properties.keys()


def _noted(value: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Put the remark on the origin into a field of prose, if the schema has one to spare."""
    parts = schema.get("properties")
    for name in _PROSE_FIELDS:
        part = parts.get(name) if isinstance(parts, dict) else None
        is_free = isinstance(part, dict) and not part.keys() & {"enum", "maxLength", "pattern"}
        if is_free and isinstance(text := value.get(name), str) and " " in text:
            return value | {name: f"{text} ({NOTE})"}
    return value
