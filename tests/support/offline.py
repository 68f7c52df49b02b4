"""What the tests of the offline model ask it: one crew's prompts, as CrewAI words them."""

from supervisor.embedded.answer import answer
from supervisor.embedded.wire import Message, Request, Tool

SYSTEM = Message("system", "You are Researcher. You dig.\nYour personal goal is: Find news")
ASK = (
    "\nCurrent Task: Find news. Topics: technology, science.\n\n"
    "This is the expected criteria for your final answer: A list\n"
    "you MUST return the actual complete content as the final answer, not a summary."
)
CONTEXT = "\n\nThis is the context you're working with:\n"
RESULT = "## Ferries run on sodium\nSource: Herald\nDate: 2026-02-13\nSummary: It is cheap."
FEEDS = Tool(
    "read_feeds",
    "Read news feeds on topics",
    {
        "type": "object",
        "properties": {
            "topics": {"type": "array", "items": {"type": "string"}},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["topics", "limit"],
    },
)


def say(*texts, tools=(), **options):
    messages = (SYSTEM, *(t if isinstance(t, Message) else Message("user", t) for t in texts))
    return answer(Request(messages, tuple(tools), **options))


def tool(name, description="", **properties):
    return Tool(name, description, {"properties": properties, "required": list(properties)})
