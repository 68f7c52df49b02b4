"""Listens where the settings say, for programs that hand the socket on or serve on it at once."""

import errno
import socket

from supervisor.configuration import variable_of
from supervisor.errors import SettingsWrong
from supervisor.settings import Settings

BACKLOG = 512


def listen(settings: Settings, host_field: str, port_field: str) -> socket.socket:
    """Return a socket that listens on the address in these two fields. Raises SettingsWrong."""
    host, port = getattr(settings, host_field), getattr(settings, port_field)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        named, cure = variable_of(host_field), "127.0.0.1 and 0.0.0.0 always are"
        if number == errno.EADDRINUSE:
            named, cure = variable_of(port_field), "choose another, or 0 for any free one"
        # What socket adds says again where.
        what = (getattr(error, "strerror", None) or "it is no address").partition(" (while")[0]
        said = f"{named}: cannot listen on port {port} of {host} ({what}); {cure}"
        raise SettingsWrong([said]) from None
