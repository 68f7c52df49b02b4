"""One kickoff of a small crew in the zygote: nobody is asked, and nobody is told.

Called by warmup.py. At their first use CrewAI, openai and pydantic build schemas and clients of
some 10 MB; built before the fork they are shared by all workers. A kickoff may start threads,
and a zygote with a second thread cannot fork (traps C4, C5): it is tried in a fork of its own
first, and left out where that one ends up with a thread, an error or no end. The trial also
tells what code a kickoff calls (packing.py).
"""

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker import gate
from worker.errors import CrewpoolError
from worker.packing import codes_called, pack

# A trial that takes longer hangs; the kickoff needs about a tenth of a second.
TRIAL_S = 10
# How long a thread that Python has joined may take to be gone for the kernel, too.
SETTLE_S = 0.2
# The interpreter notes with a function how it is best run, during its first calls.
TIMES = 3
STORAGE = "CREWAI_STORAGE_DIR"
ANSWER = {
    "id": "none",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Thought: done\nFinal Answer: done"},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class RehearsalFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """The trial did not end as it should: this version of crewai is not warmed by a kickoff."""

    def __init__(self, status: int) -> None:
        super().__init__(
            f"a kickoff in the zygote failed, hung or left a thread (wait status {status})"
        )


def rehearse() -> None:
    """Kick a crew off as runs would. Raises RehearsalFailed when the trial of it failed."""
    pack(_try_in_a_fork())
    for _ in range(TIMES):
        _kick_off()


def _try_in_a_fork() -> frozenset[int]:
    """Return which code a kickoff calls. Raises RehearsalFailed."""
    read_end, write_end = os.pipe()
    if pid := os.fork():
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            told = pipe.read()
        if (status := os.waitpid(pid, 0)[1]) != 0:
            raise RehearsalFailed(status)
        return frozenset(array("Q", told))
    # Nothing may return from here: this is a copy of the zygote with all its frames.
    code = 1
    try:
        os.close(read_end)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(TRIAL_S)
        _kick_off()
        # Of the second, as the first does much that is done once.
        called = array("Q", codes_called(_kick_off))
        gate.check("a kickoff")
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(called.tobytes())
        code = 0
    except BaseException as error:  # noqa: BLE001  # said here; the caller goes on without
        print(f"trial kickoff: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  # our log
    finally:
        os._exit(code)


def _kick_off() -> None:
    from crewai import LLM, Agent, Crew, Task  # noqa: PLC0415  # loaded long ago

    with _muted_bus(), _muted_log(), _storage_of_its_own():
        model: Any = LLM(model="openai/gpt-4o-mini", api_key="none", base_url="http://localhost/v1")
        model._client = _client_without_network()  # noqa: SLF001  # no public way in
        agent = Agent(role="rehearsal", goal="none", backstory="none", llm=model)
        task = Task(description="none", expected_output="none", agent=agent)
        Crew(agents=[agent], tasks=[task]).kickoff(inputs={})
    # The policy notes for ever that this thread once had a loop, and then refuses to make
    # one for the crew that asks with get_event_loop().
    asyncio.set_event_loop_policy(None)
    until = time.monotonic() + SETTLE_S
    while gate.threads() and time.monotonic() < until:
        time.sleep(0.001)


def _client_without_network() -> Any:
    import httpx  # noqa: PLC0415  # loaded with crewai
    import openai  # noqa: PLC0415  # the same

    def answer(_request: httpx.Request) -> httpx.Response:
        # As text, for the parsing of a real answer is what is rehearsed.
        return httpx.Response(200, text=json.dumps(ANSWER))

    transport = httpx.MockTransport(answer)
    return openai.OpenAI(api_key="none", http_client=httpx.Client(transport=transport))


@contextmanager
def _muted_bus() -> Iterator[None]:
    """Let nothing be emitted: the event bus would start its threads (trap C5)."""
    from crewai.events import crewai_event_bus  # noqa: PLC0415  # loaded with crewai

    bus: Any = type(crewai_event_bus)
    emit = bus.emit
    bus.emit = lambda *_, **__: None
    try:
        yield
    finally:
        bus.emit = emit


@contextmanager
def _muted_log() -> Iterator[None]:
    """Let no library warn of a model that does not exist."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _storage_of_its_own() -> Iterator[None]:
    """Let CrewAI write its record of the kickoff where it goes away with us."""
    before = os.environ.get(STORAGE)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        os.environ[STORAGE] = os.path.realpath(folder)
        try:
            yield
        finally:
            if before is None:
                del os.environ[STORAGE]
            else:
                os.environ[STORAGE] = before
