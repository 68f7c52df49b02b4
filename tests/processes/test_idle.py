"""What a supervisor costs that has nothing to do."""

import socket
from collections import Counter

import pytest

from tests.support.waiting import stays_true, wait_until

# Longer than the rarest of its rounds (trimming, sweeping), which then count as they should.
WATCHED_S = 62


class Spy:
    """Sees each command that clients send, by MONITOR; what scripts call inside is marked."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"

    def seen(self):
        """Return the names of all commands so far, each as often as it was sent."""
        self._socket.setblocking(False)
        data = b""
        while chunk := self._some():
            data += chunk
        self._socket.close()
        words = [line.split(b" ", 4) for line in data.splitlines() if b'"' in line]
        return Counter(word[3].decode().strip('"').lower() for word in words if word[2] != b"lua]")

    def _some(self):
        try:
            return self._socket.recv(1 << 16)
        except BlockingIOError:
            return b""


@pytest.mark.slow
def test_64_idle_slots_cost_at_most_two_commands_a_second(start_supervisor, redis_server, world):
    supervisor = start_supervisor(CREWPOOL_WORKERS=64).wait_idle(64, 60)
    # Its first round comes one lease after the start.
    wait_until(lambda: world.client.info("commandstats").get("cmdstat_hlen"), 30)
    spy = Spy(redis_server.port)

    stays_true(lambda: supervisor.is_running, WATCHED_S)

    seen = spy.seen()
    assert seen.total() <= 2 * WATCHED_S, seen
    assert seen["xread"] >= 4, "it listens"
    assert 12 <= seen["set"] <= 14, "it beats every 5 s"
