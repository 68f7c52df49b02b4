"""The model and the search tool that a run brings along in its `_` settings.

`create_crew(settings, llm=…, search_tool=…)` gets them when it accepts them (wire
contract). Without such settings both are None, and the crew uses CrewAI's own defaults
from the environment.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

SEARCH_URL = "https://api.tavily.com/search"
SEARCH_TIMEOUT_S = 20
MOST_RESULTS = 5


def services_for(create_crew: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the optional keyword arguments that this `create_crew` accepts."""
    makers = {"llm": model_of, "search_tool": search_tool_of}
    parameters = inspect.signature(create_crew).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {
        name: make(settings) for name, make in makers.items() if takes_all or name in parameters
    }


def model_of(settings: Mapping[str, Any]) -> Any:
    """Return crewai's LLM for `_llm_model` and `_llm_api_key`, or None without either."""
    model, key = settings.get("_llm_model"), settings.get("_llm_api_key")
    if not model and not key:
        return None
    from crewai import LLM  # noqa: PLC0415  # crewai is there only when a crew is

    name = str(model or os.environ.get("OPENAI_MODEL_NAME") or "gpt-4o-mini")
    return LLM(model=name, api_key=str(key)) if key else LLM(model=name)


def search_tool_of(settings: Mapping[str, Any]) -> Any:
    """Return a web search tool for `_tavily_api_key`, or None without it."""
    key = settings.get("_tavily_api_key")
    if not key:
        return None
    from crewai.tools import tool  # noqa: PLC0415  # see model_of

    @tool("web_search")  # type: ignore[untyped-decorator]  # crewai is skipped by mypy
    def web_search(query: str) -> str:
        """Search the web; returns titles, addresses and excerpts."""
        return search(query, str(key))

    return web_search


def search(query: str, key: str) -> str:
    """Ask Tavily; return one result a paragraph. Raises httpx.HTTPError."""
    import httpx  # noqa: PLC0415  # 60 ms that only searching crews pay

    answer = httpx.post(
        os.environ.get("TAVILY_SEARCH_URL", SEARCH_URL),
        json={"query": query, "max_results": MOST_RESULTS},
        headers={"Authorization": f"Bearer {key}"},
        timeout=SEARCH_TIMEOUT_S,
    )
    answer.raise_for_status()
    found = answer.json().get("results", [])
    return "\n\n".join(f"{r.get('title')}\n{r.get('url')}\n{r.get('content')}" for r in found)
