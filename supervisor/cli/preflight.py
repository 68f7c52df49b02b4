"""What can be known to be wrong before a supervisor starts: folders, the port, the user.

Called by run, up, plugins and doctor. Each function returns a Trouble, None when all is
well, and changes nothing.
"""

import os
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import worker
from supervisor.configuration import variable_of
from supervisor.errors import SecretUnreadable, SettingsWrong, UserUnknown
from supervisor.pool.environment import Environment
from supervisor.pool.identity import Identity, identity_of, missing_capabilities
from supervisor.settings import Settings
from supervisor.streams import inspect

# Writes which of these folders may not be entered and read.
_ACCESS = """
import os, sys
refused = [p for p in sys.argv[1:] if not os.access(p, os.R_OK | os.X_OK)]
os.write(1, os.fsencode("\\n".join(refused)))
"""


class Trouble(NamedTuple):
    """What is wrong, and what to do about it."""

    said: str
    cure: str

    def __str__(self) -> str:
        return f"{self.said}; {self.cure}"


def check(settings: Settings) -> None:
    """Raise SettingsWrong with every problem that would stop the supervisor."""
    looks = (
        *(redis_url_trouble, plugin_dir_trouble, storage_trouble, port_trouble),
        *(worker_user_trouble, secrets_trouble),
    )
    if problems := [str(trouble) for look in looks if (trouble := look(settings))]:
        raise SettingsWrong(problems)


def redis_url_trouble(settings: Settings) -> Trouble | None:
    """Say whether the URL, with its files for TLS, can be one at all."""
    if not inspect.is_url(settings.redis_address, settings.requests_stream):
        # Neither quoted nor explained in the parser's words: both may show a password.
        cure = "mend host, port or options; in a password, write / as %2F, @ as %40, : as %3A"
        return Trouble("REDIS_URL: is no address that can be connected to", cure)
    return _file_trouble(settings) or _certificate_trouble(settings)


def _file_trouble(settings: Settings) -> Trouble | None:
    for field in ("redis_ca_file", "redis_cert_file", "redis_key_file"):
        path: Path | None = getattr(settings, field)
        if path is None:
            continue
        named = f"{variable_of(field)}: {path.absolute()}"
        if not path.is_file():
            what = "is no file" if path.exists() else "does not exist"
            return Trouble(f"{named} {what}", "name the PEM file")
        if not os.access(path, os.R_OK):
            return Trouble(f"{named} may not be read by this user", "chown or chmod it")
    return None


def _certificate_trouble(settings: Settings) -> Trouble | None:
    """Say what OpenSSL has against the files; else every connection would fail for it."""
    ca, cert, key = settings.redis_ca_file, settings.redis_cert_file, settings.redis_key_file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        named = f"{variable_of('redis_ca_file')}: {ca} holds no certificate"
        return Trouble(named, "name the PEM file of who signed the server's certificate")
    try:
        if cert is not None:
            # Without a password of ours OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        said = f"{variable_of('redis_cert_file')}: {cert}"
        if error.reason == "KEY_VALUES_MISMATCH":
            said = f"{said}: the key {key or 'in it'} belongs to another certificate"
            return Trouble(said, "name the two files that were made together")
        said = f"{said} with the key {key or 'in it'} cannot be used ({error.reason})"
        return Trouble(said, "both must be PEM, and the key without a password")
    return None


def plugin_dir_trouble(settings: Settings) -> Trouble | None:
    """Say what is wrong with the plugin folder."""
    folder = settings.plugin_dir
    cure = "name the folder that holds the plugins"
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        return Trouble(f"PLUGIN_DIR: {folder.absolute()} {what}", cure)
    if not os.access(folder, os.R_OK | os.X_OK):
        return Trouble(f"PLUGIN_DIR: {folder.absolute()} may not be read by this user", cure)
    return None


def storage_trouble(settings: Settings) -> Trouble | None:
    """Say what is wrong with the folder for CrewAI's files."""
    folder = settings.storage_dir
    if folder is None or (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return None
    what = "may not be written by this user" if folder.is_dir() else "is no folder"
    return Trouble(f"CREWPOOL_STORAGE_DIR: {folder} {what}", "name a writable one, best on tmpfs")


def worker_user_trouble(settings: Settings) -> Trouble | None:
    """Say why workers could not run as the user that they shall run as."""
    named = variable_of("worker_user")
    try:
        identity = identity_of(settings.worker_user)
    except UserUnknown as error:
        return Trouble(f"{named}: {error}", "name one that exists, or a number")
    if identity is None:
        return None
    if identity.uid == 0:
        return Trouble(f"{named}: {identity.name} is root", "name a user without privileges")
    if missing := missing_capabilities(Path("/proc/self/status").read_text("utf-8", "replace")):
        said = f"the supervisor may not become another user (it lacks {', '.join(missing)})"
        cure = "start it as root, or leave that out: workers then run as its own user"
        return Trouble(f"{named}: {said}", cure)
    return _access_trouble(settings, identity)


def _access_trouble(settings: Settings, identity: Identity) -> Trouble | None:
    """Ask as that user, the one way that knows all rules of access."""
    places = [Path(worker.__file__).parent, settings.plugin_dir.absolute(), settings.storage_dir]
    cure = f"let the user {identity.name} read and enter it, and all folders above"
    try:
        asked = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ACCESS, *map(str, filter(None, places))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            timeout=30,
            check=False,
            **identity.of_process(),
        )
    except PermissionError:
        return Trouble(f"{identity.name} may not run {sys.executable}", cure)
    if asked.returncode:
        return Trouble(f"{identity.name} cannot run {sys.executable}: {asked.stderr[-300:]}", cure)
    closed = asked.stdout.splitlines()
    return Trouble(f"{identity.name} may not enter {', '.join(closed)}", cure) if closed else None


def secrets_trouble(settings: Settings) -> Trouble | None:
    """Say which files of secrets for all plugins cannot be read."""
    complaints: list[SecretUnreadable] = []
    url = settings.redis_url.get_secret_value()
    Environment(os.environ, settings.worker_env, url, "", complaints.append).of_zygote()
    if not complaints:
        return None
    return Trouble("; ".join(map(str, complaints)), "mount it, and let this user read it")


def port_trouble(settings: Settings) -> Trouble | None:
    """Say why the probes could not be served, by listening for a moment."""
    host, port = settings.http_host, settings.http_port
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        said = f"CREWPOOL_HTTP_HOST: {host} is no address of this machine ({error.strerror})"
        return Trouble(said, "127.0.0.1 and 0.0.0.0 always are")
    for family, kind, protocol, _, address in found:
        try:
            with closing(socket.socket(family, kind, protocol)) as probe:
                # As the server does it: connections that are fading away do no harm.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen(1)
        except OSError as error:
            where = f"port {port} of {host or 'all addresses'}"
            said = f"CREWPOOL_HTTP_PORT: cannot listen on {where} ({error.strerror})"
            return Trouble(said, "choose another, or 0 for any free one")
    return None
