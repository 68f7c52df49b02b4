"""Gateways for the tests, each a real process on a real server."""

import pytest

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
