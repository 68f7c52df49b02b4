"""What is told of a run whose worker we killed: where it was, what it waited for, its stacks.

Made from what the handle of the worker still has when it is dead; nothing is asked for here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from supervisor.pool.handle import Running
from supervisor.pool.stall import Stall, stall_of
from worker.protocol import Progress
from worker.redact import redact


@dataclass(frozen=True)
class PostMortem:
    """The last moments of a run. `stacks` are for the dead letter only."""

    stall: Stall
    progress: Progress
    stacks: str = ""

    def facts(self) -> dict[str, Any]:
        """Return what goes into results, records and the log; what is empty is left out."""
        stall, at = self.stall, self.progress
        facts: dict[str, Any] = {
            "stall": stall.kind.value,
            "peers": list(stall.peers),
            "cores": stall.cores,
            "threads": stall.threads,
            "task": at.task,
            "tasks": at.tasks,
            "task_name": at.task_name,
            "agent": at.agent,
            "tool": at.tool,
            "call": at.call,
            "llm_calls": at.tokens.calls,
            "tokens": at.tokens.prompt + at.tokens.completion,
        }
        return {name: value for name, value in facts.items() if value}


def examine(run: Running, secrets: Iterable[str]) -> PostMortem | None:
    """Return the post-mortem of a run, without its credentials; None when it was not overdue.

    A crew may have put a credential into a name: the worker masks what it reports, but a
    crew's code lives in the worker.
    """
    if not run.scenes:
        return None
    hidden = tuple(secrets)
    told = {
        name: redact(getattr(run.progress, name), hidden)
        for name in ("task_name", "agent", "tool", "call")
    }
    last = run.scenes[-1] if len(run.scenes) > 1 else None
    stacks = redact(run.last_words.text(), hidden) if run.last_words else ""
    return PostMortem(stall_of(run.scenes[0], last), run.progress.model_copy(update=told), stacks)
