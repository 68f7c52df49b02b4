"""The other end of NOTIFY_SOCKET, where tests read what systemd would."""

import socket


class Systemd:
    """The other end of the socket."""

    def __init__(self, address):
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(address.replace("@", "\0", 1))

    def heard(self):
        """The datagrams since the last look, each as its lines."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return found

    def close(self):
        self._socket.close()
