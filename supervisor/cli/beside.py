"""What `crewpool up` starts beside the supervisor: Redis, a model, records, the gateway."""

import os
from pathlib import Path

from supervisor.cli import render
from supervisor.cli.companions import DEFAULT_PORT, free_or_default_port
from supervisor.configuration import load, variable_of
from supervisor.embedded.companions import Companions
from supervisor.embedded.offline_model import OfflineModel, provider_key_in
from supervisor.embedded.program import Program
from supervisor.embedded.server import EmbeddedServer
from supervisor.gateway.server import check
from supervisor.gateway.server import listen as listen_for_runs
from supervisor.listening import listen
from supervisor.runs.records import open_sealer, open_store

RECORDS_FILE = "crewpool-records.db"
_VARIABLE = variable_of("records_url")


def start_server(companions: Companions, data: Path | None, port: int | None) -> None:
    """Start a server of our own. Raises NoServerProgram, ServerFailed, DataFolderInUse."""
    server = EmbeddedServer(data, port=free_or_default_port(port))
    companions.start(server)
    os.environ["REDIS_URL"] = server.url
    kept = f"its data is kept in {data.absolute()}" if data else "its data goes when it ends"
    render.fact("Redis", f"{server.url}  our own; {kept}")
    if port is None and server.port != DEFAULT_PORT:
        render.fact("", f"port {DEFAULT_PORT} is taken by another program")


def start_model(companions: Companions) -> None:
    """Start the offline model where there is no key of another. Raises OfflineModelFailed."""
    if (variable := provider_key_in(os.environ)) is not None:
        render.fact("Model", f"the real one: {variable} is set")
        return
    model = OfflineModel()
    companions.start(model)
    os.environ.update(model.environment())
    render.fact("Model", "offline: no provider's key was found")
    render.fact("", "It is no language model: it answers by extracting from what it is given.")
    render.fact("", "For a real one: OPENAI_API_KEY=… crewpool up")


def start_programs(
    companions: Companions, data: Path | None, *, records: bool, gateway: bool
) -> None:
    """Start those that were asked for, at the same time.

    Raises SettingsWrong and ProgramFailed, and as the records and their key.
    """
    programs = [*([_records(data)] if records else []), *([_gateway()] if gateway else [])]
    companions.start(*programs)


def _records(data: Path | None) -> Program:
    """Return what takes results in, relays and fires schedules."""
    if not load().records_url.get_secret_value():
        file = (data or Path()).absolute() / RECORDS_FILE
        os.environ[_VARIABLE] = f"sqlite:///{file}"
    settings = load()
    # Told by us, at once and in words, and not by a companion in the middle of a log.
    with open_store(settings) as store:
        store.counts()
        open_sealer(settings)
        render.fact("Records", store.where)
    listening = listen(settings, "http_host", "records_http_port")
    return Program("results", "consume", listening=listening)


def _gateway() -> Program:
    """Return the HTTP intake."""
    settings = load()
    check(settings)
    listening = listen_for_runs(settings)
    host, port = listening.getsockname()[:2]
    render.fact("Gateway", f"http://{f'[{host}]' if ':' in host else host}:{port}/openapi.json")
    return Program("gateway", listening=listening)


def records_to_name(started_from: str) -> str:
    """Return what other terminals must be told to find records that nobody had named before.

    `started_from` is the origin of the setting before it was started.
    """
    url = os.environ.get(_VARIABLE, "")
    return f"{_VARIABLE}={url} " if url and started_from == "default" else ""
