"""Asking the kernel who is on the other end of a socket."""

import doctest
import os
import socket
from contextlib import ExitStack

import pytest

from supervisor.pool import farends
from supervisor.pool.farends import far_ends
from tests.support.waiting import wait_until

FAMILIES = [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")]


@pytest.fixture(params=["asked", "read"])
def _way(request, monkeypatch):
    """By netlink, and as where a crew has a network of its own."""
    if request.param == "read":
        monkeypatch.setattr(farends, "_shares_our_network", lambda _pid: False)


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def named(*sockets):
    return {f"socket:[{os.fstat(s.fileno()).st_ino}]": s.fileno() for s in sockets}


def ends_of(*sockets):
    found = far_ends(os.getpid(), named(*sockets))
    return [found.get(name) for name in named(*sockets)]


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(("family", "host", "told"), FAMILIES)
def test_a_connection_has_its_far_end(stack, family, host, told):
    server = stack.enter_context(socket.create_server((host, 0), family=family))
    port = server.getsockname()[1]
    client = stack.enter_context(socket.create_connection((host, port)))

    # The file is not listed to its end after a busy minute, by design.
    wait_until(lambda: ends_of(client) == [f"{told}:{port}"], 60)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(("family", "host", "told"), FAMILIES)
def test_so_has_a_question_that_was_sent_to_a_name_server(stack, family, host, told):
    asks = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    asks.connect((host, 53))

    assert ends_of(asks) == [f"{told}:53"]


def test_a_version_4_connection_of_a_version_6_socket_is_told_as_one(stack):
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = server.getsockname()[1]
    client = stack.enter_context(socket.socket(socket.AF_INET6))
    client.connect(("::ffff:127.0.0.1", port))

    assert ends_of(client) == [f"127.0.0.1:{port}"]


def test_what_leads_nowhere_is_not_known_and_no_error(stack):
    local, _ = map(stack.enter_context, socket.socketpair())
    unconnected = stack.enter_context(socket.socket())

    assert ends_of(local, unconnected) == [None, ""]
    assert far_ends(2**22 + 1, {"socket:[1]": 3}) == {}


def test_the_examples_in_docstrings_are_true():
    assert doctest.testmod(farends).failed == 0
