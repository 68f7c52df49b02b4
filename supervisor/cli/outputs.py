"""Shows the end of a run: its output, or its error with what can be done about it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from rich.markdown import Markdown
from rich.padding import Padding

from supervisor.cli import render, wording

WIDEST = 100
# What a result's error begins with, and what helps.
_ADVICE = (
    ("Unknown plugin", "crewpool plugins list"),
    ("Settings do not fit", "crewpool plugins list, which shows the settings of each plugin"),
    ("Workflow exceeded", "a larger timeout_s in plugin.yaml, or CREW_TIMEOUT_SECONDS"),
    ("Plugin ", "crewpool doctor, where the supervisor runs"),
    ("Worker died", "look for the run's id in the supervisor's log; crewpool workers shows memory"),
)


def ended(result: Mapping[str, Any], *, as_json: bool) -> bool:
    """Show how a run ended; return whether it has completed."""
    has_completed = result.get("status") == "completed"
    if as_json:
        render.answer_json(result)
    elif has_completed:
        completed(result)
    if has_completed:
        render.talk(closing_line(result), "dim")
    else:
        failed(result)
    return has_completed


def completed(result: Mapping[str, Any]) -> None:
    """Print the output: the crew's Markdown if it has one, else its JSON."""
    text = str(result.get("output", ""))
    try:
        output = json.loads(text)
    except ValueError:
        render.answer(text)
        return
    if isinstance(output, dict) and isinstance(output.get("raw"), str):
        document(output["raw"])
    else:
        render.answer_json(output)


def failed(result: Mapping[str, Any]) -> None:
    """Say why a run failed."""
    error = str(result.get("error") or "no reason was given")
    advice = next((cure for start, cure in _ADVICE if error.startswith(start)), "")
    run_id = str(result.get("plugin_run_id"))
    next_step = advice or f"crewpool runs show {shlex.quote(run_id)}"
    render.failure(f"Run {run_id} failed: {error}", next_step)


def document(markdown: str) -> None:
    """Print Markdown: set on a terminal, as it is for programs."""
    if not render.is_terminal():
        render.answer(markdown)
        return
    page = Markdown(render.clean(markdown), hyperlinks=False)
    render.show(Padding(page, (0, 1)), widest=WIDEST)


def closing_line(result: Mapping[str, Any]) -> str:
    """Say in one line what a run took, as far as the result tells."""
    meta = result.get("meta")
    facts = meta if isinstance(meta, dict) else {}
    parts = [f"{result.get('status')}"]
    if length_s := wording.number(facts, "duration_s"):
        parts.append(f"{length_s:.1f}s")
    if count := tokens_of(facts):
        parts.append(f"{count:,.0f} tokens")
    receipt = facts.get("receipt")
    if isinstance(receipt, dict):
        cpu_s = wording.number(receipt, "cpu_user_s") + wording.number(receipt, "cpu_system_s")
        parts.append(f"{cpu_s:.1f}s CPU")
        parts.append(render.size(wording.number(receipt, "max_rss_bytes")))
    if wording.number(facts, "attempt") > 1:
        parts.append(f"attempt {facts['attempt']}")
    return " · ".join([*parts, str(facts.get("worker") or "")]).rstrip(" ·")


def tokens_of(meta: Mapping[str, Any]) -> float:
    """Return the tokens of a result's meta, 0 when it tells none."""
    tokens = meta.get("tokens")
    if not isinstance(tokens, dict):
        return 0.0
    return wording.number(tokens, "prompt") + wording.number(tokens, "completion")
