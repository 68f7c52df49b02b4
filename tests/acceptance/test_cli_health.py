"""`crewpool health`: the health check of a container."""

import pytest

from tests.support.servers import free_port
from tests.support.waiting import wait_until


def test_a_supervisor_that_is_ready_is_exit_code_0(crewpool, supervisor):
    port = supervisor.http_address.rpartition(":")[2]

    asked = crewpool("health", CREWPOOL_HTTP_PORT=port)

    assert (asked.returncode, asked.stdout) == (0, "ready\n")


def test_it_asks_the_loopback_where_all_addresses_are_listened_on(crewpool, supervisor):
    port = supervisor.http_address.rpartition(":")[2]

    asked = crewpool("health", CREWPOOL_HTTP_HOST="0.0.0.0", CREWPOOL_HTTP_PORT=port)

    assert asked.returncode == 0


def test_a_proxy_in_the_environment_is_not_asked(crewpool, supervisor):
    nobody = "http://127.0.0.1:1"

    asked = crewpool(
        *("health", "--url", f"http://{supervisor.http_address}"),
        HTTP_PROXY=nobody,
        http_proxy=nobody,
    )

    assert asked.returncode == 0


def test_without_redis_it_is_alive_and_not_ready(crewpool, own_server, start_supervisor):
    supervisor = start_supervisor(own_server.url)
    address = f"http://{supervisor.http_address}"
    own_server.stop()

    def is_not_ready():
        return crewpool("health", "--url", address).returncode == 1

    wait_until(is_not_ready, what="the supervisor has noticed")
    live = crewpool("health", "--live", "--url", address)
    ready = crewpool("health", "--url", address)
    assert (live.returncode, live.stdout) == (0, "alive\n")
    assert "/health/ready says not_ready: Redis at" in ready.stderr


def test_where_nobody_answers_it_is_exit_code_1(crewpool):
    port = free_port()

    asked = crewpool("health", CREWPOOL_HTTP_PORT=port)

    assert asked.returncode == 1
    assert f"Nobody answers on http://127.0.0.1:{port}/health/ready" in asked.stderr
    assert asked.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["--url", "localhost:8000"]])
def test_what_cannot_be_asked_is_exit_code_2(crewpool, arguments):
    asked = crewpool("health", *arguments, CREWPOOL_HTTP_PORT=0)

    assert asked.returncode == 2
    assert "Next: crewpool health" in asked.stderr
