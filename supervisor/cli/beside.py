"""What `crewpool up` starts beside the supervisor for an application: records, the gateway."""

import os
from contextlib import ExitStack
from pathlib import Path

from supervisor.cli import render
from supervisor.configuration import load, variable_of
from supervisor.embedded.program import Program
from supervisor.gateway.server import check, listen
from supervisor.runs.records import open_store

RECORDS_FILE = "crewpool-records.db"
_VARIABLE = variable_of("records_url")


def start_records(started: ExitStack, data: Path | None) -> list[int]:
    """Start what takes results in, relays and fires schedules; return its pid.

    Raises as open_store and its store.
    """
    if not load().records_url.get_secret_value():
        file = (data or Path()).absolute() / RECORDS_FILE
        os.environ[_VARIABLE] = f"sqlite:///{file}"
    # Told by us, at once and in words, and not by a companion in the middle of a log.
    with open_store(load()) as store:
        store.counts()
        render.fact("Records", store.where)
    program = started.enter_context(Program("results", "consume"))
    return [program.pid] if program.pid else []


def start_gateway(started: ExitStack) -> list[int]:
    """Start the HTTP intake; return its pid. Raises SettingsWrong."""
    settings = load()
    check(settings)
    # We listen: no port can be lost to somebody else in between, and 0 becomes one to tell.
    with listen(settings) as listening:
        host, port = listening.getsockname()[:2]
        number = listening.fileno()
        arguments = ("gateway", "--listening", str(number))
        program = started.enter_context(Program(*arguments, pass_fds=(number,)))
    render.fact("Gateway", f"http://{f'[{host}]' if ':' in host else host}:{port}/openapi.json")
    return [program.pid] if program.pid else []


def records_to_name(started_from: str) -> str:
    """Return what other terminals must be told to find records that nobody had named before.

    `started_from` is the origin of the setting before `start_records`.
    """
    url = os.environ.get(_VARIABLE, "")
    return f"{_VARIABLE}={url} " if url and started_from == "default" else ""
