"""rediss:// with an authority and a certificate of our own, and unix://."""

import pytest

from supervisor.cli.preflight import redis_url_trouble
from supervisor.configuration import load
from supervisor.errors import RedisAway
from supervisor.streams.connection import answering, connect, where
from tests.support.certificates import Authority
from tests.support.clusters import Cluster
from tests.support.replication import Replication
from tests.support.servers import HOST, RedisServer, free_port


class TlsServer(RedisServer):
    """Speaks TLS on `tls_port`, to those with a certificate of its authority only."""

    def __init__(self, folder):
        self.authority = Authority(folder / "tls")
        self.tls_port = free_port()
        tls = {"tls_port": self.tls_port, **self.authority.server_options()}
        super().__init__(folder, **tls, bind=f"{HOST} 127.0.0.2")

    @property
    def tls_url(self):
        return f"rediss://127.0.0.1:{self.tls_port}/0"


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    server = TlsServer.or_skip(tmp_path_factory.mktemp("tls")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def files(tls):
    return tls.authority.client_settings()


async def ask(url):
    """Send a command and a read that blocks; return what the server knows us as."""
    client = connect(url, name="asks")
    try:
        async with answering(client):
            await client.xread({"nothing": "0-0"}, block=1)
            return (await client.client_getname()), where(client)
    finally:
        await client.aclose()


async def test_with_a_certificate_that_the_server_knows_we_get_in(tls, files):
    settings = load(redis_url=tls.tls_url, **files)

    assert redis_url_trouble(settings) is None
    assert await ask(settings.redis_address) == ("asks", f"127.0.0.1:{tls.tls_port}")


async def test_names_with_a_tag_are_sought_over_tls_too(tls, files):
    settings = load(redis_url=tls.tls_url, **files)
    client = connect(settings.redis_address, key="{p}:requests")

    async with answering(client):
        assert await client.ping()
    await client.aclose()


async def test_a_server_that_another_authority_signed_is_not_trusted(tls, files, tmp_path):
    other = Authority(tmp_path, "other").ca_file
    settings = load(redis_url=tls.tls_url, **{**files, "redis_ca_file": other})

    with pytest.raises(RedisAway, match="CERTIFICATE_VERIFY_FAILED") as told:
        await ask(settings.redis_address)

    assert told.value.where == f"127.0.0.1:{tls.tls_port}"


async def test_a_certificate_for_another_host_is_not_trusted(tls, files):
    """The certificate names 127.0.0.1 and localhost; 127.0.0.2 is the same server."""
    settings = load(redis_url=tls.tls_url.replace("127.0.0.1", "127.0.0.2"), **files)

    with pytest.raises(RedisAway, match="certificate is not valid for '127.0.0.2'"):
        await ask(settings.redis_address)


async def test_without_a_certificate_of_ours_the_server_hangs_up(tls, files):
    settings = load(redis_url=tls.tls_url, redis_ca_file=files["redis_ca_file"])

    with pytest.raises(RedisAway, match=r"(?i)certificate required|Connection closed|reset"):
        await ask(settings.redis_address)


async def test_where_one_side_speaks_tls_and_the_other_does_not_it_is_an_outage(tls, files):
    encrypted = load(redis_url=f"rediss://{HOST}:{tls.port}/0", **files)

    with pytest.raises(RedisAway, match="Timeout connecting"):
        await ask(encrypted.redis_address)
    with pytest.raises(RedisAway, match=r"closed|reset"):
        await ask(f"redis://{HOST}:{tls.tls_port}/0")


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("redis_ca_file", None, "does not exist"),
        ("redis_ca_file", "no certificate", "holds no certificate"),
        ("redis_cert_file", None, "does not exist"),
        ("redis_cert_file", "no certificate", "cannot be used"),
        ("redis_key_file", None, "does not exist"),
        ("redis_key_file", "no key", "cannot be used"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_before_the_start(
    tls, files, tmp_path, field, text, said
):
    bad = tmp_path / "bad.pem"
    if text is not None:
        bad.write_text(text)
    settings = load(redis_url=tls.tls_url, **{**files, field: bad})

    trouble = redis_url_trouble(settings)

    assert said in trouble.said
    assert f"CREWPOOL_{field.upper()}" in trouble.said or field == "redis_key_file"
    assert str(bad) in str(trouble)


def test_a_key_of_another_certificate_is_told_before_the_start(tls, files):
    _, key = tls.authority.issue("other")

    trouble = redis_url_trouble(load(redis_url=tls.tls_url, **{**files, "redis_key_file": key}))

    assert "belongs to another certificate" in trouble.said


async def test_a_unix_socket_is_an_address(tmp_path):
    path = tmp_path / "redis.sock"
    server = RedisServer.or_skip(tmp_path / "server", unixsocket=path).start()
    try:
        server.client.xadd("nothing", {"a": "b"})
        assert await ask(f"unix://{path}?db=0") == ("asks", str(path))
    finally:
        server.stop()
    with pytest.raises(RedisAway, match="No such file or directory"):
        await ask(f"unix://{path}")


async def test_sentinels_and_the_primary_they_name_are_reached_over_tls(tmp_path):
    authority = Authority(tmp_path / "tls")
    three = Replication(tmp_path, tls=authority).start()
    try:
        client = connect(load(redis_url=three.url, **authority.client_settings()).redis_address)
        async with answering(client):
            await client.set("a", "b")
        await client.aclose()
        assert three.primary.client.get("a") == "b"
        assert f":{three.primary.data_port} " in where(client)
    finally:
        three.stop()


async def test_the_node_of_a_cluster_is_found_over_tls(tmp_path):
    authority = Authority(tmp_path / "tls")
    three = Cluster(tmp_path, tls=authority).start()
    try:
        owner = three.owner_of("{p}:a")
        first = f"rediss://{HOST}:{three.others_than(owner)[0].data_port}"
        for url in (three.url, first):
            settings = load(redis_url=url, **authority.client_settings())
            client = connect(settings.redis_address, key="{p}:a")
            async with answering(client):
                await client.set("{p}:a", url)
            await client.aclose()
            assert owner.client.get("{p}:a") == url
    finally:
        three.stop()
