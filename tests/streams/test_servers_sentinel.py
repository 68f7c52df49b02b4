"""redis+sentinel://: the primary that a sentinel names, also after it has died."""

import asyncio
import time

import pytest

from supervisor.errors import RedisAway
from supervisor.streams.connection import answering, connect, where
from supervisor.streams.inspect import is_url
from tests.support.replication import SERVICE, Replication
from tests.support.servers import HOST, free_port
from tests.support.waiting import eventually

KINDS = ("redis", "valkey")


@pytest.fixture(params=KINDS)
def replication(tmp_path, request):
    all_three = Replication(tmp_path, request.param).start()
    yield all_three
    all_three.stop()


@pytest.fixture
async def client(replication):
    client = connect(replication.url)
    yield client
    await client.aclose()


async def ask(client, *words):
    async with answering(client):
        return await client.execute_command(*words)


async def test_the_primary_is_found_and_named(client, replication):
    await ask(client, "SET", "a", "b")

    assert replication.primary.client.get("a") == "b"
    assert where(client) == (
        f"{HOST}:{replication.primary.port} "
        f"({SERVICE} of the sentinels {HOST}:{replication.sentinel.port})"
    )


async def test_the_older_protocol_is_spoken_with_sentinels_too(replication):
    client = connect(f"{replication.url}?protocol=2")

    assert await ask(client, "SET", "a", "b")
    await client.aclose()


async def test_after_a_failover_the_new_primary_is_found(client, replication):
    await ask(client, "SET", "a", "b")
    replication.kill_primary()

    with pytest.raises(RedisAway):
        await ask(client, "SET", "a", "c")

    async def is_back():
        # As the keeper does it.
        await client.connection_pool.disconnect(inuse_connections=False)
        try:
            return await ask(client, "SET", "a", "d")
        except RedisAway:
            return False

    await eventually(is_back, 20)
    assert replication.now() is replication.replica
    assert replication.replica.client.get("a") == "d"
    assert f"{HOST}:{replication.replica.port} " in where(client)


async def test_a_primary_that_became_a_replica_is_left(client, replication):
    """It lives on, and for a moment it even takes writes, which are lost (trap R17)."""
    await ask(client, "SET", "a", "b")
    replication.fail_over()

    async def is_there():
        try:
            await ask(client, "SET", "a", "c")
        except RedisAway:
            return False
        return replication.replica.client.get("a") == "c"

    # Sentinel itself takes ten seconds to tell the old one.
    await eventually(is_there, 5)
    assert f"{HOST}:{replication.replica.port} " in where(client)


async def test_a_primary_that_lost_its_replicas_and_refuses_to_write_is_left(client, replication):
    """min-replicas-to-write is what keeps writes from getting lost in a failover by hand."""
    replication.primary.client.config_set("min-replicas-to-write", 1)
    await ask(client, "SET", "a", "b")
    replication.replica.client.replicaof("NO", "ONE")
    await eventually(
        lambda: replication.primary.client.info("replication")["connected_slaves"] == 0
    )

    with pytest.raises(RedisAway, match="NOREPLICAS"):
        await ask(client, "SET", "a", "c")


async def test_sentinels_that_are_gone_do_no_harm_while_the_primary_is_there(client, replication):
    await ask(client, "SET", "n", "0")
    replication.sentinel.kill()

    def grows():
        return ask(client, "INCR", "n")

    for _ in range(3):
        began = time.monotonic()
        await eventually(grows)
        assert time.monotonic() - began < 1.5
        client.connection_pool._ask_again_at = 0
    replication.sentinel.start()


@pytest.mark.slow
@pytest.mark.parametrize("replication", KINDS[:1], indirect=True)
async def test_a_blocked_read_does_not_outlast_the_role_of_its_primary(replication):
    client = connect(replication.url, blocks_s=20)
    began = asyncio.create_task(ask(client, "XREAD", "BLOCK", "20000", "STREAMS", "s", "0-0"))
    await eventually(lambda: replication.primary.client.info("clients")["blocked_clients"] == 1)

    replication.fail_over()

    with pytest.raises(RedisAway):
        await asyncio.wait_for(began, 15)
    await client.aclose()


async def test_a_command_is_sent_once(client, replication):
    """No retry of redis-py's, neither to the primary nor to the sentinel (trap R1)."""
    await ask(client, "SET", "n", "0")
    pool = client.connection_pool

    assert pool.connection_kwargs["retry"].get_retries() == 0
    for sentinel in pool.sentinel_manager.sentinels:
        assert sentinel.connection_pool.connection_kwargs["retry"].get_retries() == 0


async def test_all_connections_end_with_the_client(replication):
    client = connect(replication.url, name="to-end")
    await ask(client, "PING")
    # The first answer of a sentinel is news, and ends all connections that are idle.
    await client.connection_pool.disconnect()
    await ask(client, "PING")

    def named(server):
        return [c for c in server.client.client_list() if c["name"] == "to-end"]

    assert named(replication.primary)
    assert named(replication.sentinel)
    await client.aclose()

    await eventually(lambda: not named(replication.primary) and not named(replication.sentinel))


async def test_a_sentinel_that_is_not_there_is_passed_over(replication):
    client = connect(replication.url.replace("://", f"://{HOST}:{free_port()},"))

    assert await ask(client, "PING")
    await client.aclose()


@pytest.mark.parametrize("replication", KINDS[:1], indirect=True)
async def test_a_service_that_no_sentinel_knows_is_an_outage_with_the_reason(replication):
    client = connect(replication.url.replace(f"/{SERVICE}", "/other"))

    with pytest.raises(RedisAway, match="it does not know the service"):
        await ask(client, "PING")
    await client.aclose()


async def test_without_any_sentinel_the_reason_names_each_of_them():
    ports = [free_port(), free_port()]
    client = connect(f"redis+sentinel://u:s3cr3t@{HOST}:{ports[0]},{HOST}:{ports[1]}/{SERVICE}")

    with pytest.raises(RedisAway) as told:
        await ask(client, "PING")
    await client.aclose()

    assert f"{HOST}:{ports[0]},{HOST}:{ports[1]}" in told.value.where
    assert "Connect call failed" in told.value.cause
    assert "<redis" not in told.value.cause
    assert "s3cr3t" not in str(told.value)


async def test_primary_and_sentinel_have_their_own_passwords(tmp_path):
    guarded = Replication(tmp_path, password="its-own", sentinel_password="another").start()
    url = guarded.url.replace("://", "://:its-own@")
    try:
        client = connect(f"{url}?sentinel_password=another")
        assert await ask(client, "PING")
        await client.aclose()
        for wrong in (
            url,
            f"{url}?sentinel_password=s3cr3t",
            f"{guarded.url}?sentinel_password=another",
        ):
            client = connect(wrong)
            with pytest.raises(RedisAway, match=r"(?i)auth|password") as told:
                await ask(client, "PING")
            assert "s3cr3t" not in str(told.value)
            await client.aclose()
    finally:
        guarded.stop()


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("redis+sentinel://a:1,b/main", True),
        ("redis+sentinel://u:p@a:1,[::1]:26379/main/3?protocol=2", True),
        ("rediss+sentinel://a/main", True),
        ("redis+sentinel://a:1,b:2", False),
        ("redis+sentinel://a:1/main/x", False),
        ("redis+sentinel://a:99999/main", False),
        ("redis+sentinel://a:1,,b:2/main", False),
        ("redis+sentinel://a b/main", False),
        ("redis+sentinel://u:p/w@a:1/main", False),
    ],
)
def test_what_is_an_address_of_sentinels(url, is_one):
    assert is_url(url) is is_one
