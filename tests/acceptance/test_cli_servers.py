"""The commands on every kind of server: TLS, a Unix socket, Sentinel, a cluster."""

import json

import pytest

from tests.support.certificates import Authority
from tests.support.clusters import Cluster
from tests.support.redis_world import RedisWorld
from tests.support.replication import Replication
from tests.support.servers import HOST, RedisServer, client_of, free_port
from tests.support.waiting import wait_until

TAGGED = {
    "CREWPOOL_REQUESTS_STREAM": "{plugin}:requests",
    "CREWPOOL_RESULTS_STREAM": "{plugin}:results",
    "CREWPOOL_DEAD_LETTERS_STREAM": "{plugin}:requests:dlq",
}


@pytest.fixture
def tls(tmp_path):
    """A server that wants a certificate, the URL, and the variables with our files."""
    authority = Authority(tmp_path / "tls")
    port = free_port()
    options = {"appendonly": True, "tls_port": port, **authority.server_options()}
    server = RedisServer.or_skip(tmp_path / "server", **options).start()
    files = authority.client_settings()
    ours = {f"CREWPOOL_{name.upper()}": file for name, file in files.items()}
    yield {"REDIS_URL": f"rediss://{HOST}:{port}/0", **ours}
    server.stop()


@pytest.fixture
def unix(tmp_path):
    path = tmp_path / "redis.sock"
    server = RedisServer.or_skip(tmp_path / "server", appendonly=True, unixsocket=path).start()
    yield {"REDIS_URL": f"unix://{path}?db=0"}
    server.stop()


@pytest.fixture
def sentinel(tmp_path):
    three = Replication(tmp_path / "servers", password="s3cr3t-word").start()
    yield {"REDIS_URL": three.url.replace("://", "://:s3cr3t-word@")}
    three.stop()


@pytest.fixture
def cluster(tmp_path):
    three = Cluster(tmp_path / "nodes").start()
    yield {"REDIS_URL": three.url, **TAGGED}
    three.stop()


@pytest.fixture
def node(tmp_path):
    """A plain address of a node that does not hold the names."""
    three = Cluster(tmp_path / "nodes").start()
    stranger = three.others_than(three.owner_of("{plugin}:requests"))[0]
    yield {"REDIS_URL": f"redis://{HOST}:{stranger.port}/0", **TAGGED}
    three.stop()


def found(asked, level):
    return [f for f in json.loads(asked.stdout)["findings"] if f["level"] == level]


@pytest.mark.parametrize("kind", ["tls", "unix", "sentinel", "cluster", "node"])
def test_a_run_is_submitted_and_done_on(request, crewpool, kind):
    variables = request.getfixturevalue(kind)
    running = crewpool.start("run", CREWPOOL_WORKERS=1, **variables)
    running.wait_for("started")
    asked = ("submit", "echoes", "--set", "text=from there", "--wait", "--json")

    submitted = crewpool(*asked, **variables)

    assert submitted.returncode == 0, submitted.stderr + running.err
    assert "from there" in submitted.stdout
    hosts = json.loads(crewpool("workers", "--json", **variables).stdout)
    assert len(hosts) == 1
    running.signal(15)
    assert running.wait_exit() == 0
    assert "redis_away" not in running.err
    assert "s3cr3t-word" not in running.err + submitted.stdout + submitted.stderr


def test_the_default_names_are_refused_at_the_start_on_a_cluster(crewpool, cluster):
    refused = crewpool("run", REDIS_URL=cluster["REDIS_URL"])

    assert refused.returncode == 2
    assert "plugin:requests, plugin:results, plugin:requests:dlq lie in different" in refused.stderr
    assert "CREWPOOL_REQUESTS_STREAM={plugin}:requests" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_profile_cortex_is_refused_on_a_cluster_with_names_to_take_instead(crewpool, cluster):
    refused = crewpool("run", REDIS_URL=cluster["REDIS_URL"], CREWPOOL_NAMES="cortex")

    assert refused.returncode == 2
    for example in ("REQUESTS_STREAM={plugin}:tasks:normal", "HEARTBEATS_KEY={plugin}:heartbeats"):
        assert f"CREWPOOL_{example}" in refused.stderr


def test_files_for_tls_that_are_not_there_are_refused_at_the_start(crewpool):
    url = {"REDIS_URL": f"rediss://{HOST}:1/0"}

    refused = crewpool("run", CREWPOOL_REDIS_CA_FILE="nowhere.pem", **url)

    assert refused.returncode == 2
    assert "CREWPOOL_REDIS_CA_FILE: " in refused.stderr
    assert "nowhere.pem does not exist" in refused.stderr


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tls", "the server's certificate checked"),
        ("unix", "all commands are permitted"),
        ("sentinel", "(main of the sentinels "),
        ("cluster", "all names lie in one slot, held by "),
    ],
)
def test_the_doctor_finds_no_problem_with(request, crewpool, kind, told):
    examined = crewpool("doctor", "--json", **request.getfixturevalue(kind))

    assert found(examined, "problem") == []
    assert [f for f in found(examined, "good") if told in f["said"]], examined.stdout
    assert "s3cr3t-word" not in examined.stdout + examined.stderr


def test_the_doctor_warns_of_what_a_failover_would_lose(crewpool, tmp_path):
    three = Replication(tmp_path / "servers").start()
    second = RedisServer.or_skip(tmp_path / "second", repl_diskless_sync_delay=0).start()
    asked = ("doctor", "--json")
    try:
        with_one = crewpool(*asked, REDIS_URL=three.url)
        second.client.replicaof(HOST, three.primary.port)
        primary = three.primary.client
        wait_until(lambda: primary.info("replication")["connected_slaves"] == 2)
        with_two = crewpool(*asked, REDIS_URL=three.url)
        primary.config_set("min-replicas-to-write", 1)
        careful = crewpool(*asked, REDIS_URL=three.url)
    finally:
        second.stop()
        three.stop()

    assert "replicas that are connected: 1" in str(found(with_one, "good"))
    assert "takes writes without its replicas" in str(found(with_two, "warning"))
    assert "takes writes without its replicas" not in careful.stdout


def test_the_doctor_warns_of_a_primary_without_replicas(crewpool, cluster):
    assert "has no replica" in str(found(crewpool("doctor", "--json", **cluster), "warning"))


def test_the_doctor_names_the_cure_for_what_tls_refused(crewpool, tls, tmp_path):
    stranger = Authority(tmp_path / "other").ca_file
    untrusted = crewpool("doctor", "--json", **{**tls, "CREWPOOL_REDIS_CA_FILE": stranger})
    unknown = crewpool(
        "doctor",
        "--json",
        **{**tls, "CREWPOOL_REDIS_CERT_FILE": None, "CREWPOOL_REDIS_KEY_FILE": None},
    )

    assert "CREWPOOL_REDIS_CA_FILE names who signed" in str(found(untrusted, "problem"))
    assert "wants a certificate of ours (CREWPOOL_REDIS_CERT_FILE)" in str(
        found(unknown, "problem")
    )


def test_the_applications_own_block_and_names_are_enough(crewpool, own_server):
    """One file for both: crewpool.toml with the block [messaging], on the streams of cortex."""
    (crewpool.folder / "crewpool.toml").write_text(
        f"""
        names = "cortex"
        workers = 1

        [messaging]
        enabled = true
        use_redis = true
        redis_addr = "{HOST}:{own_server.port}"
        redis_password = ""
        redis_db = 3
        heartbeat_interval = "500ms"
        """
    )
    running = crewpool.start("run", REDIS_URL=None)
    running.wait_for("started")
    world = RedisWorld(client_of(own_server.url.replace("/0", "/3")))

    for level in ("critical", "high", "normal", "low"):
        world.publish(f"r-{level}", stream=f"cortex:tasks:{level}")
    world.publish("r-bad", raw="no JSON", stream="cortex:tasks:normal")

    wait_until(lambda: world.client.xlen("cortex:results") == 4, what="all have their results")
    wait_until(lambda: world.client.xlen("cortex:tasks:dlq") == 1, what="it is buried")
    (host,) = wait_until(lambda: world.client.zrange("cortex:heartbeats", 0, -1))
    assert world.client.exists(f"cortex:heartbeats:{host}")
    running.signal(15)
    assert running.wait_exit() == 0
    world.client.close()
