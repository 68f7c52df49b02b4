"""The port of the embedded server, one that others can know. Called by `up` and `demo`."""

import socket
from contextlib import closing

from supervisor.cli.failures import UsageWrong
from supervisor.embedded.server import HOST, free_port

DEFAULT_PORT = 6379


def free_or_default_port(wanted: int | None) -> int:
    """Return the port to use: the wanted one, any for 0, the usual one if it is free."""
    if wanted == 0:
        return free_port()
    port = DEFAULT_PORT if wanted is None else wanted
    if _is_free(port):
        return port
    if wanted is None:
        return free_port()
    raise UsageWrong(f"Port {port} of {HOST} is taken", "another --redis-port, or 0 for any")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
