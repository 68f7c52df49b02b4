"""Turns what a crew returned into the `output` of a result: text that parses as JSON.

The reader stores it in a JSONB column (wire contract), which refuses NaN, NUL characters
and lone surrogates even where a JSON parser lets them pass.
"""

import json
import math
import re
from typing import Any

from worker.redact import MASK, redact

_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*\s*$")
_UNFIT = re.compile(r"[\x00\ud800-\udfff]")
_FENCE = re.compile(r"^\s*(```|~~~)")


def as_json_text(result: Any, secrets: tuple[str, ...] = ()) -> str:
    """Return the JSON text of a CrewOutput, a string or any JSON-like value.

    `json_dict` or `pydantic` when the crew has one, else {"summary", "sections", "raw"}
    made from its Markdown. Secrets are masked inside the values, before they become text:
    afterwards a secret that looks like JSON would take the structure with it.
    """
    return json.dumps(_fit(_value_of(result), secrets), ensure_ascii=False, allow_nan=False)


def _value_of(result: Any) -> Any:
    if isinstance(data := getattr(result, "json_dict", None), dict | list):
        return data
    if (model := getattr(result, "pydantic", None)) is not None and hasattr(model, "model_dump"):
        return model.model_dump(mode="json")
    if isinstance(result, dict | list):
        return result
    raw = getattr(result, "raw", result)
    return sections_of(raw if isinstance(raw, str) else str(raw))


def sections_of(markdown: str) -> dict[str, Any]:
    r"""Cut Markdown at its headings; the summary is the first paragraph that says something.

    >>> sections_of("# News\nAll well.\n## Sport\nWon.")["summary"]
    'All well.'
    """
    sections: list[dict[str, str]] = []
    title, lines, is_code = "", [], False
    for line in markdown.splitlines():
        is_code ^= bool(_FENCE.match(line))
        heading = None if is_code else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        _close(sections, title, lines)
        title, lines = heading[2], []
    _close(sections, title, lines)
    return {"summary": _first_paragraph(sections), "sections": sections, "raw": markdown}


def clean(text: str) -> str:
    """Return the text without characters that JSONB and UTF-8 refuse."""
    return _UNFIT.sub("\ufffd", text)


def _close(sections: list[dict[str, str]], title: str, lines: list[str]) -> None:
    content = "\n".join(lines).strip()
    if title or content:
        sections.append({"title": title, "content": content})


def _first_paragraph(sections: list[dict[str, str]]) -> str:
    for section in sections:
        if section["content"]:
            return " ".join(section["content"].split("\n\n")[0].split())[:500]
    return sections[0]["title"] if sections else ""


def _fit(value: Any, secrets: tuple[str, ...]) -> Any:
    """Return the value as JSONB can hold it: no NaN, no NUL, string keys, nothing foreign."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if str(value) in secrets:
            return MASK
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {redact(clean(str(k)), secrets): _fit(part, secrets) for k, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [_fit(part, secrets) for part in value]
    return redact(clean(str(value)), secrets)
