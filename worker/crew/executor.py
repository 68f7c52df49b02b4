"""Runs one assignment: settings, create_crew, kickoff, outcome.

Called by the worker's loop with nothing else going on in the process. It never raises:
whatever plugin code does, short of ending the process, becomes an Outcome.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from worker.crew.causes import NeedsHuman, failure_of, is_end_of_input
from worker.crew.folders import Folders
from worker.crew.lockdown import FORCED
from worker.crew.namespace import Namespace
from worker.crew.output import as_json_text, clean
from worker.crew.progress import Listener, Tracker
from worker.crew.services import services_for
from worker.crew.surroundings import restored
from worker.errors import CrewpoolError, PluginBroken
from worker.plugins import Catalogue, check_settings
from worker.protocol import MAX_TEXT, Assignment, Outcome, Progress
from worker.redact import redact, secrets_of, without_credentials
from worker.system import forbid_inspection

# Set by the offline model's environment; see without_offline_model().
OFFLINE_MODEL = "CREWPOOL_OFFLINE_MODEL_URL"
# No plugin says other about these.
OURS = {*FORCED, "CREWAI_STORAGE_DIR", "TMPDIR"}


class Executor:
    """Runs assignments one after the other with the plugins' modules kept loaded."""

    def __init__(
        self,
        catalogue: Catalogue,
        namespaces: dict[str, Namespace],
        max_output_bytes: int,
        folders: Folders,
    ) -> None:
        self._catalogue = catalogue
        self._namespaces = namespaces
        self._imported = {name for name, space in namespaces.items() if space.is_loaded}
        self._max_output_bytes = max_output_bytes
        self._folders = folders
        self._listener = Listener()

    def execute(self, run: Assignment, tell: Callable[[Progress], None]) -> Outcome:
        """Run it; `tell` is called with progress, from any thread."""
        started = time.monotonic()
        secrets = secrets_of(run.settings, os.environ, run.env.values())
        tracker = Tracker(run.run_id, tell, lambda text: redact(text, secrets))
        facts: dict[str, Any]
        try:
            # In a context of its own: what a crew sets in one (the client of crewai's vector
            # store, say) is not for the next.
            output = copy_context().run(self._run, run, tracker, secrets)
            facts = {"ended": "completed", "output": output}
        except CrewpoolError as error:
            facts = {"ended": "invalid", "error": str(error)}
        except BaseException as error:  # noqa: BLE001  # SystemExit of a plugin must not end us
            facts = {**_failed(error), "error": _sentence(error), "stack": _stack_of(error)}
        tracker.stop()
        for key, most in (("error", MAX_TEXT), ("stack", 4 * MAX_TEXT)):
            facts[key] = clean(redact(facts.get(key, ""), secrets))[-most:]
        return Outcome(
            run_id=run.run_id,
            code=tracker.code,
            duration_s=time.monotonic() - started,
            tokens=tracker.tokens,
            models=tracker.models,
            **facts,
        )

    def take_over(self) -> None:
        """Hear that the worker which had the slot before is gone."""
        self._folders.take_over()

    def tidy(self, at_least_s: float, is_wanted: Callable[[], bool]) -> None:
        """Remove what crews left on disk, in at least this time, or until somebody waits."""
        self._folders.tidy(at_least_s, is_wanted)

    def _run(self, run: Assignment, tracker: Tracker, secrets: tuple[str, ...]) -> str:
        plugin = self._catalogue.find(run.plugin)
        settings = check_settings(plugin, run.settings)
        # Not there when the plugin is newer than the zygote.
        namespace = self._namespaces.setdefault(plugin.name, Namespace(plugin.path))
        with (
            restored(),
            self._folders.entered(),
            with_secrets(run.env),
            namespace.entered(),
            without_offline_model(settings),
        ):
            tracker.imports(namespace.code, is_news=plugin.name not in self._imported)
            create_crew = getattr(namespace.load(), "create_crew", None)
            if not callable(create_crew):
                raise PluginBroken(plugin.name, "crew/crew.py defines no create_crew(settings)")
            # Before create_crew: a plugin that imports crewai there has its bus by then.
            crew = create_crew(settings, **services_for(create_crew, settings))
            self._listener.follow(tracker)
            try:
                _refuse_human_input(crew)
                tracker.planned(len(getattr(crew, "tasks", ())))
                result = crew.kickoff(inputs=without_credentials(settings))
            finally:
                self._listener.settle()
        return self._checked(as_json_text(result, secrets))

    def _checked(self, output: str) -> str:
        size = len(output.encode())
        if size > self._max_output_bytes:
            raise ValueError(
                f"The crew's output has {size} bytes; at most {self._max_output_bytes} are allowed "
                "(CREWPOOL_MAX_OUTPUT_BYTES)"
            )
        return output


@contextmanager
def with_secrets(env: Mapping[str, str]) -> Iterator[None]:
    """Add what this plugin alone may see; the caller restores the environment.

    Our memory is closed to the crews of other workers, of the same user, from then on.
    """
    if env:
        forbid_inspection()
        os.environ.update({name: env[name] for name in env if name not in OURS})
    yield


class without_offline_model:  # noqa: N801  # a context manager, read as a phrase
    """Take the offline model out of the environment for a run that brings its own key.

    It stands there as OPENAI_BASE_URL, and would otherwise answer in the real one's place.
    """

    _NAMES = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._is_needed = bool(settings.get("_llm_api_key")) and OFFLINE_MODEL in os.environ
        self._kept: dict[str, str] = {}

    def __enter__(self) -> None:
        if self._is_needed:
            self._kept = {n: os.environ.pop(n) for n in self._NAMES if n in os.environ}

    def __exit__(self, *_: object) -> None:
        os.environ.update(self._kept)


def _refuse_human_input(crew: Any) -> None:
    for task in getattr(crew, "tasks", ()):
        if getattr(task, "human_input", False):
            raise NeedsHuman(str(getattr(task, "name", None) or task.description))


def _failed(error: BaseException) -> dict[str, Any]:
    try:
        failure = failure_of(error, time.time())
    except BaseException:  # noqa: BLE001  # a plugin's error is code of the plugin, too
        return {"ended": "exception"}
    return {"ended": failure.ended, "retry_after_s": failure.retry_after_s}


def _sentence(error: BaseException) -> str:
    if is_end_of_input(error):
        return "EOFError: the crew read from its standard input, which is empty in a run"
    try:
        told = str(error)
    except BaseException as worse:  # noqa: BLE001  # a plugin's error may fail to describe itself
        told = f"(cannot be told: {type(worse).__name__})"
    if isinstance(error, MemoryError) and not told:
        told = "the crew's process could get no more memory"
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _stack_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=-20))
    except BaseException as worse:  # noqa: BLE001  # see _sentence
        return f"(no stack: {type(worse).__name__} while it was told)"
