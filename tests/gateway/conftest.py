"""Gateways for the tests, each a real process on a real server."""

import socket

import pytest

from supervisor.configuration import load
from supervisor.gateway.server import Gateway, listen
from tests.support.gateways import GatewayProcess


@pytest.fixture(scope="module")
def start_shared(any_server, tmp_path_factory):
    """Start gateways that the tests of a module share."""
    started = []

    def start(url=None, **options):
        gateway = GatewayProcess(
            url or any_server.url, tmp_path_factory.mktemp("gateway") / "it", **options
        )
        started.append(gateway)
        return gateway.start()

    yield start
    for gateway in started:
        gateway.end()


@pytest.fixture(scope="module")
def shared(start_shared):
    """A gateway without tokens and records."""
    return start_shared()


@pytest.fixture
def gateway(shared, redis_server):
    """The same, on a server that is empty."""
    return shared


@pytest.fixture
def start_gateway(redis_server, tmp_path):
    """Start gateways of one test."""
    started = []

    def start(url=None, **options):
        folder = tmp_path / f"gateway-{len(started)}"
        gateway = GatewayProcess(url or redis_server.url, folder, **options)
        started.append(gateway)
        return gateway.start()

    yield start
    for gateway in started:
        gateway.end()


@pytest.fixture
def connect():
    """Connect clients, and ask for events if a run is named. They read nothing by themselves."""
    clients = []

    def connect(port, run_id="r-1", receive_bytes=None):
        client = socket.socket()
        clients.append(client)
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", port))
        if run_id:
            head = f"GET /v1/runs/{run_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
            client.sendall(head.encode())
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
async def here(redis_server, tmp_path, monkeypatch):
    """Start a gateway in this loop; return its port, and the names of what it logs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("CREWPOOL_GATEWAY_PORT", "0")
    logged = []

    class Log:
        def __getattr__(self, _level):
            return lambda event, **_facts: logged.append(event)

    settings = load()
    gateway = Gateway(settings, Log())
    listening = listen(settings)
    await gateway.start(listening)
    yield gateway, listening.getsockname()[1], logged
    await gateway.stop()
