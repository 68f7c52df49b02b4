"""Finds in a conversation what is to be done, with what, and in which form; no I/O.

Used by answer.py. It knows the prompts that CrewAI sends (the marks below are sentences of
its translations) and falls back to "the last thing the user said" for everybody else's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from supervisor.embedded.wire import Message, Request, Tool

# Longer texts are cut before they are searched: an answer must not take minutes.
MAX_TEXT_CHARS = 200_000
# One paragraph longer than this is material rather than an order.
LONG_ORDER_CHARS = 600
MOST_ORDER_CHARS = 8000

NOTE = "This text is an extract by crewpool's offline model, not written by a language model."
NOTE_HEADING = "## About this text"

TASK = "Current Task:"
EXPECTED = "This is the expected criteria for your final answer:"
CONTEXT = "This is the context you're working with:"
KNOWLEDGE = "Additional Information:"
SCHEMA = "Format your final answer according to the following OpenAPI schema:"
ENDS = (
    "you MUST return the actual complete content as the final answer",
    "Begin! This is VERY important to you",
    "Provide your complete response:",
    "# Memories from past conversations:",
    "\n\nCurrent Date:",
)
TEXT_TOOL = "Tool Name:"
TEXT_TOOL_ARGUMENTS = "Tool Arguments:"
TEXT_TOOL_DESCRIPTION = "Tool Description:"
STOP_TOOLS = "stop using any tools"

_ACTION = re.compile(r"Action:([^\n]{1,200})\nAction Input:")
_FAILED = re.compile(
    r"\s*(error\b|i encountered an error|i tried reusing|i did it wrong|traceback)", re.IGNORECASE
)


@dataclass(frozen=True)
class Result:
    """What a tool has returned."""

    tool: str
    text: str

    @property
    def is_failure(self) -> bool:
        """Say whether it reads like an error of the tool rather than like its answer."""
        return bool(_FAILED.match(self.text))


@dataclass(frozen=True)
class Conversation:
    """A request as the extractor sees it.

    task, expected   what is to be done, and how the answer should look
    context          what other tasks have found
    results          what the tools have returned since the task was set
    schema           the JSON schema of the answer, from the request or the prompt's words
    is_textual       the caller wants Thought, Action and Final Answer as text (ReAct)
    """

    request: Request
    task: str = ""
    expected: str = ""
    context: str = ""
    results: tuple[Result, ...] = ()
    tools: tuple[Tool, ...] = ()
    schema: Mapping[str, Any] | None = None
    is_textual: bool = False

    @property
    def wishes(self) -> str:
        """All that says how the answer should be."""
        return f"{self.task[:MOST_ORDER_CHARS]}\n{self.expected[:MOST_ORDER_CHARS]}"


def read_conversation(request: Request) -> Conversation:
    """Take a checked request apart."""
    start = _where_the_task_is(request.messages)
    prompt = request.messages[start].text[:MAX_TEXT_CHARS]
    # Models that know no system role are told the same by "the user", before the task.
    before = (m.text for m in request.messages[:start] if m.role not in ("assistant", "tool"))
    system = "\n".join(before)
    # Not what follows CONTEXT: that was found on the way, and gives no orders.
    instructions = f"{system[:MAX_TEXT_CHARS]}\n{prompt.partition(CONTEXT)[0]}"
    is_textual = "Final Answer:" in instructions
    tools = request.tools or (tuple(_text_tools(instructions)) if is_textual else ())
    if any(STOP_TOOLS in message.text for message in request.messages[start + 1 :]):
        tools = ()
    frame = Conversation(
        request=request,
        results=tuple(_results(request.messages[start + 1 :])),
        tools=tools,
        schema=_text_schema(instructions) if request.schema is None else request.schema,
        is_textual=is_textual,
    )
    if TASK not in prompt:
        return _plain(frame, prompt, system)
    body = prompt.partition(TASK)[2]
    return replace(
        frame,
        task=_until(body, EXPECTED, SCHEMA, CONTEXT, KNOWLEDGE, *ENDS),
        expected=_until(body.partition(EXPECTED)[2], SCHEMA, CONTEXT, KNOWLEDGE, *ENDS),
        context=without_note(_context(body)),
    )


def without_note(text: str) -> str:
    """Return the text without our own remark: it belongs into a document once."""
    first, *others = text.split(NOTE)
    # What opened and closed the emphasis round the remark goes with it.
    parts = [first, *[part.lstrip("*_)") for part in others]]
    for number in range(len(others)):
        before = parts[number].rstrip(" \t\n*_>(").removesuffix(NOTE_HEADING).rstrip()
        parts[number] = before.removesuffix("\n---")
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _where_the_task_is(messages: tuple[Message, ...]) -> int:
    users = [n for n, message in enumerate(messages) if message.role == "user"]
    tasks = [n for n in users if TASK in messages[n].text]
    # After a tool CrewAI adds a word of its own as the user; the task stands before it.
    return (tasks or users or [len(messages) - 1])[-1]


def _plain(frame: Conversation, prompt: str, system: str) -> Conversation:
    """Read a prompt that is not a task of CrewAI's: orders first, then the material."""
    if system.lstrip().startswith(SCHEMA):  # CrewAI's converter: all the user says is material
        return replace(frame, context=without_note(prompt), is_textual=False)
    head, _, rest = prompt.strip().partition("\n\n")
    if not rest and len(head) > LONG_ORDER_CHARS:  # one long text: the orders are the system's
        head, rest = system, prompt
    return replace(frame, task=head, context=without_note(rest))


def _context(body: str) -> str:
    found = [
        _until(body.partition(mark)[2], *ENDS) for mark in (CONTEXT, KNOWLEDGE) if mark in body
    ]
    return "\n\n".join(dict.fromkeys(found))


def _until(text: str, *marks: str) -> str:
    ends = [at for mark in marks if (at := text.find(mark)) >= 0]
    return text[: min(ends, default=len(text))].strip()


def _results(messages: tuple[Message, ...]) -> Iterator[Result]:
    for message in messages:
        text = message.text[:MAX_TEXT_CHARS]
        if message.role in ("tool", "function"):
            yield Result(message.name, without_note(text))
        elif message.role == "assistant" and (action := _ACTION.search(text)):
            _, mark, observed = text[action.end() :].partition("\nObservation:")
            if mark:
                yield Result(action[1].strip(), without_note(observed))


def _text_tools(instructions: str) -> Iterator[Tool]:
    """Read the tools that CrewAI describes in words to models without function calling."""
    for block in instructions.split(TEXT_TOOL)[1:]:
        name, _, rest = block.partition(TEXT_TOOL_ARGUMENTS)
        description = _until(rest.partition(TEXT_TOOL_DESCRIPTION)[2], "\n\nIMPORTANT:")
        if name.strip():
            yield Tool(name.strip(), description, _object_at(rest) or {})


def _text_schema(instructions: str) -> dict[str, Any] | None:
    """Read the schema that CrewAI puts into words where it cannot ask for JSON otherwise."""
    return _object_at(instructions.partition(SCHEMA)[2])


def _object_at(text: str) -> dict[str, Any] | None:
    try:
        data, _ = json.JSONDecoder().raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
