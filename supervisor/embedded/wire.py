"""The words of the OpenAI API as the offline model speaks them; no I/O.

Used by model_server.py. What comes in is hostile until `read_request` has looked at it;
everything behind that line may rely on the types.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MODEL = "crewpool-offline"
CHARS_A_TOKEN = 4
PIECE_CHARS = 80


class BadRequest(Exception):  # noqa: N818  # named as the API names it
    """The request is not one of the API's. `param` names the field."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        self.param = param
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class Call:
    """A tool call: asked for by us, or found in the conversation."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """One message of the conversation. `name` is the tool's, if it is a tool's result."""

    role: str
    text: str
    name: str = ""
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool that the caller offers, with the JSON schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A checked request for a chat completion.

    forced   the name of the tool that must be called, "*" for any, "" for none
    schema   the JSON schema the answer must fit; {} for any object; None for text
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    forced: str = ""
    schema: Mapping[str, Any] | None = None
    stop: tuple[str, ...] = ()
    is_stream: bool = False
    includes_usage: bool = False


@dataclass(frozen=True)
class Reply:
    """What the model says: a text, or the call of a tool."""

    text: str = ""
    call: Call | None = None


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body. Raises BadRequest."""
    try:
        data = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no JSON: {str(error)[:200]}") from None
    if not isinstance(data, dict):
        raise BadRequest("The body must be a JSON object.")
    return data


def _refuse(constant: str) -> None:
    """Refuse NaN and Infinity, which Python reads but JSON does not have."""
    raise ValueError(f"{constant} is no number")


def read_request(body: bytes) -> Request:
    """Return the checked request of POST /v1/chat/completions. Raises BadRequest."""
    data = read_object(body)
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one message.", "messages")
    options = data.get("stream_options")
    tools = tuple(_tool(tool) for tool in _list(data, "tools"))
    return Request(
        messages=tuple(_message(message) for message in messages),
        tools=() if data.get("tool_choice") == "none" else tools,
        forced=_forced(data.get("tool_choice"), {tool.name for tool in tools}),
        schema=_schema(data.get("response_format")),
        stop=_stop(data.get("stop")),
        is_stream=data.get("stream") is True,
        includes_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{key} must be a list.", key)
    return value


def _message(message: Any) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest("Each message must be an object with a role.", "messages")
    calls = (
        call["function"]["name"]
        for call in _list(message, "tool_calls")
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
        if isinstance(call["function"].get("name"), str)
    )
    name = message.get("name")
    text = _text(message.get("content"))
    return Message(message["role"], text, name if isinstance(name, str) else "", tuple(calls))


def _text(content: Any) -> str:
    """Return the text of a content, which may be a list of parts; pictures are passed over."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest("content must be a string, a list of parts or null.", "messages")
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def _tool(tool: Any) -> Tool:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest("Each tool must be an object with a function that has a name.", "tools")
    description, parameters = function.get("description"), function.get("parameters")
    return Tool(
        function["name"],
        description if isinstance(description, str) else "",
        parameters if isinstance(parameters, dict) else {},
    )


def _forced(choice: Any, names: set[str]) -> str:
    if choice == "required":
        return "*" if names else ""
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        return ""
    if name not in names:
        raise BadRequest("tool_choice names a tool that is not among the tools.", "tool_choice")
    return name


def _schema(response_format: Any) -> Mapping[str, Any] | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return {}
    if response_format.get("type") != "json_schema":
        return None
    wrapper = response_format.get("json_schema")
    schema = wrapper.get("schema") if isinstance(wrapper, dict) else None
    if not isinstance(schema, dict):
        raise BadRequest("response_format.json_schema.schema must be an object.", "response_format")
    return schema


def _stop(stop: Any) -> tuple[str, ...]:
    words = [stop] if isinstance(stop, str) else stop
    return tuple(w for w in words if isinstance(w, str) and w) if isinstance(words, list) else ()


def error_body(message: str, param: str | None = None) -> dict[str, Any]:
    """Return an error in the API's shape."""
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


def tokens(text: str) -> int:
    """Return a plausible number of tokens for a text."""
    return max(1, -(-len(text) // CHARS_A_TOKEN))


def usage(request: Request, reply: Reply) -> dict[str, int]:
    """Return the usage block. Counted in characters: there is no tokenizer here."""
    asked = sum(tokens(message.text) for message in request.messages)
    asked += sum(tokens(tool.description + json.dumps(tool.parameters)) for tool in request.tools)
    told = tokens(reply.text if reply.call is None else _arguments(reply.call))
    return {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}


def completion(request: Request, reply: Reply, created: int) -> dict[str, Any]:
    """Return the body of a plain answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.call is not None:
        message |= {"content": None, "tool_calls": [_call_part(reply.call)]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _why(reply)}
    head = _head(reply, created, "chat.completion")
    return {**head, "choices": [choice], "usage": usage(request, reply)}


def chunks(request: Request, reply: Reply, created: int) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed answer; the caller adds the closing `[DONE]`."""
    head = _head(reply, created, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": None if reply.call else ""})
    if reply.call is None:
        for piece in _pieces(reply.text):
            yield chunk({"content": piece})
    else:
        part = {"index": 0, **_call_part(reply.call)}
        part["function"] = {"name": reply.call.name, "arguments": ""}
        yield chunk({"tool_calls": [part]})
        for piece in _pieces(_arguments(reply.call)):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield chunk({}, _why(reply))
    if request.includes_usage:
        yield {**head, "choices": [], "usage": usage(request, reply)}


def _head(reply: Reply, created: int, kind: str) -> dict[str, Any]:
    said = reply.text if reply.call is None else reply.call.name + _arguments(reply.call)
    head = {"id": f"chatcmpl-{_mark(said)}", "object": kind, "created": created, "model": MODEL}
    return {**head, "system_fingerprint": MODEL}


def _call_part(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call)}
    return {"id": f"call_{_mark(call.name + _arguments(call))}", "type": "function"} | {
        "function": function
    }


def _arguments(call: Call) -> str:
    return json.dumps(dict(call.arguments), ensure_ascii=False)


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24]


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE_CHARS):
        yield text[start : start + PIECE_CHARS]


def _why(reply: Reply) -> str:
    return "stop" if reply.call is None else "tool_calls"
