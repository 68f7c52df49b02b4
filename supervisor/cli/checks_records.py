"""The doctor's look at the application's side: run records, the key of the outbox, the gateway.

Called by doctor.py. It asks, and changes nothing. What is not configured is not looked at.
"""

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.cli.findings import Finding, good, problem, warning
from supervisor.cli.health import answers
from supervisor.configuration import origins, variable_of
from supervisor.errors import SettingsWrong
from supervisor.gateway.server import check
from supervisor.listening import listen
from supervisor.runs.errors import (
    OutboxKeyUnfit,
    RecordsAway,
    RecordsMisconfigured,
    RecordsNotInstalled,
)
from supervisor.settings import Settings
from worker.errors import CrewpoolError

if TYPE_CHECKING:
    from supervisor.runs.examination import Examined

# A relay that works has published by then.
LONG_S = 60.0
MOST_NAMED = 5
_KEY = variable_of("outbox_key_file")


def of_records(settings: Settings) -> list[Finding]:
    """Look at the records, if there are to be any."""
    if not settings.records_url.get_secret_value():
        return []
    try:
        from supervisor.runs.examination import examine, key_file  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        return [_problem("records", RecordsNotInstalled(str(error.name)))]
    try:
        found = examine(settings)
    except (RecordsAway, RecordsMisconfigured) as error:
        return [_problem("records", error)]
    key = key_file(settings, found.file)
    return [
        _tables(found),
        *_rights(found.file, "records"),
        *_key(found, key),
        *_outbox(found),
        *_schedules(found),
        *_port(settings, "records", "http_host", "records_http_port"),
    ]


def of_gateway(settings: Settings) -> list[Finding]:
    """Look at the HTTP intake, if anything was set about it."""
    rows = [row for row in origins(settings) if row.name.startswith("gateway_")]
    if all(row.origin == "default" for row in rows):
        return []
    try:
        check(settings)
    except SettingsWrong as error:
        return [problem("gateway", *told.rsplit("; ", 1)) for told in error.problems]
    file = settings.gateway_token_file
    who = f"whoever has a token of {file}" if file else "this machine, without tokens"
    return [
        good("gateway", f"open to {who}"),
        *_rights(file, "gateway"),
        *_port(settings, "gateway", "gateway_host", "gateway_port"),
        *_port(settings, "gateway", "http_host", "gateway_http_port"),
    ]


def _tables(found: "Examined") -> Finding:
    if found.is_current:
        return good("records", f"{found.where}, tables at {found.version}")
    if found.is_ahead:
        told = (
            f"The tables at {found.where} are at {found.version}, which this crewpool does not know"
        )
        return problem("records", told, "install a newer crewpool")
    if found.file is not None:
        done = "upgraded" if found.version else "made"
        return good("records", f"{found.where} is {done} by whoever opens it first")
    at = f"at {found.version}" if found.version else "not there"
    return problem("records", f"The tables at {found.where} are {at}", "crewpool db upgrade")


def _key(found: "Examined", key: Path | None) -> list[Finding]:
    if key is None:
        told = f"Runs and schedules with credentials are refused: {_KEY} names no key"
        cure = f"crewpool db key FILE, and {_KEY}=FILE wherever runs are asked for"
        return [warning("outbox", told, cure)]
    if found.file is not None and not key.exists():
        return [good("outbox", f"{key} is made by whoever needs it first")]
    # Of the extra `records`, which is there.
    from supervisor.runs.sealing import Sealer  # noqa: PLC0415

    try:
        Sealer(key)
    except OutboxKeyUnfit as error:
        return [problem("outbox", str(error), f"crewpool db key makes one; {_KEY} names it")]
    return _rights(key, "outbox") or [good("outbox", f"{key} seals credentials")]


def _outbox(found: "Examined") -> list[Finding]:
    findings = []
    if found.sealed:
        named = ", ".join(found.sealed[:MOST_NAMED])
        told = f"No key of ours opens what {len(found.sealed)} runs or schedules are sealed with: "
        cure = f"put their key into the file of {_KEY} as a second line, or cancel and remove them"
        findings.append(problem("outbox", told + named, cure))
    waited_s = (datetime.now(UTC) - found.oldest_at).total_seconds() if found.oldest_at else 0.0
    if waited_s > LONG_S:
        because = f": {found.oldest_error}" if found.oldest_error else ""
        told = (
            f"{found.waiting} runs wait to be published, the oldest for {waited_s:.0f} s{because}"
        )
        cure = "crewpool results consume publishes them; crewpool runs list --state waiting"
        findings.append(warning("outbox", told, cure))
    return findings


def _schedules(found: "Examined") -> list[Finding]:
    return [
        problem(
            "schedules",
            f"{name} cannot fire: {error}",
            f"mend that, or crewpool schedule remove {name}",
        )
        for name, error in list(found.broken.items())[:MOST_NAMED]
    ]


def _rights(file: Path | None, topic: str) -> list[Finding]:
    """Say when others than we may read what is secret."""
    try:
        about = file.stat() if file else None
    except OSError:
        about = None
    if about is None:
        return []
    # A mounted secret is root's, and its group is how we may read it.
    is_ours = about.st_uid == os.geteuid()
    others = stat.S_IRWXO | (stat.S_IRWXG if is_ours else stat.S_IWGRP)
    if not stat.S_IMODE(about.st_mode) & others:
        return []
    told = f"Others on this machine may read {file} or write to it"
    return [warning(topic, told, f"chmod {'600' if is_ours else 'o='} {file}")]


def _port(settings: Settings, topic: str, host_field: str, port_field: str) -> list[Finding]:
    host, port = getattr(settings, host_field), getattr(settings, port_field)
    try:
        listen(settings, host_field, port_field).close()
    except SettingsWrong as error:
        if answers(host, port):
            return [good(topic, f"it answers on {host}:{port}")]
        return [problem(topic, *told.rsplit("; ", 1)) for told in error.problems]
    return [good(topic, f"{host}:{port} is free" if port else f"any free port of {host}")]


def _problem(topic: str, error: CrewpoolError) -> Finding:
    return problem(topic, str(error), str(getattr(error, "next_step", "")))
