"""redis+cluster://, and redis:// to a node: the one that holds our names, wherever it is."""

import pytest

from supervisor.errors import RedisAway
from supervisor.streams import sweeps
from supervisor.streams.connection import answering, connect, where
from supervisor.streams.endings import Bury, DeadLetter, Finish, HandBack
from supervisor.streams.gauges import Gauges
from supervisor.streams.inspect import is_url
from supervisor.streams.keys import Keys
from supervisor.streams.publish import Publication, publish
from supervisor.streams.queue import Lease, Limits, Queue
from supervisor.streams.server import NamesNeedOneSlot, check_server
from supervisor.streams.wire import Request, Result
from tests.streams.conftest import KEYS, LIMITS
from tests.support.clusters import Cluster
from tests.support.redis_world import RedisWorld
from tests.support.servers import HOST, free_port
from tests.support.waiting import eventually

KINDS = ("redis", "valkey")
NAMES = ("{p}:requests", "{p}:results", "{p}:requests:dlq")
TAGGED = Keys(*NAMES, "crewai-workers", "go-workers")
CORTEX = Keys(
    "{cortex}:tasks:normal",
    "{cortex}:results",
    "{cortex}:tasks:dlq",
    "crewai-workers",
    "go-workers",
    "{cortex}:messages",
    "{cortex}:heartbeats",
)


@pytest.fixture(scope="module", params=KINDS)
def cluster(tmp_path_factory, request):
    """Three nodes, shared by the tests that leave them as they are."""
    three = Cluster(tmp_path_factory.mktemp("cluster"), request.param).start()
    yield three
    three.stop()


@pytest.fixture
def own_cluster(tmp_path):
    """Three nodes with a replica each, for a test that does something to them."""
    six = Cluster(tmp_path, replicas=True).start()
    yield six
    six.stop()


@pytest.fixture
async def queue_at():
    """Make queues that are closed at the end."""
    made = []

    def make(url, keys=TAGGED, limits=LIMITS):
        made.append(Queue(url, keys, limits))
        return made[-1]

    yield make
    for queue in made:
        await queue.close()


@pytest.fixture
async def client_at():
    """Make clients that are closed at the end."""
    made = []

    def make(url, key="{p}:requests", **options):
        made.append(connect(url, key=key, **options))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


async def ask(client, *words):
    async with answering(client):
        return await client.execute_command(*words)


def url_of(node):
    return f"redis://{HOST}:{node.port}/0"


async def test_names_in_several_slots_are_refused_with_the_reason(cluster, queue_at):
    for url in (cluster.url, url_of(cluster.nodes[0])):
        with pytest.raises(NamesNeedOneSlot) as told:
            await check_server(queue_at(url, KEYS))

        assert "lie in different slots" in str(told.value)
        assert "CREWPOOL_REQUESTS_STREAM={plugin}:requests," in str(told.value)
        assert "CREWPOOL_DEAD_LETTERS_STREAM={plugin}:requests:dlq" in str(told.value)


async def test_one_name_without_the_tag_is_enough_to_be_refused(cluster, queue_at):
    keys = Keys(*NAMES, "crewai-workers", "go-workers", messages="cortex:messages")

    with pytest.raises(NamesNeedOneSlot, match=r"CREWPOOL_MESSAGES_STREAM=\{plugin\}:messages"):
        await check_server(queue_at(cluster.url, keys))


async def test_from_whichever_node_we_begin_we_get_to_the_owner(cluster, client_at):
    owner = cluster.owner_of("{p}:requests")
    for url in (cluster.url, *map(url_of, cluster.nodes)):
        client = client_at(url)

        assert await ask(client, "SET", "{p}:a", url)
        assert owner.client.get("{p}:a") == url
        assert f"{HOST}:{owner.port}" in where(client)


async def test_nodes_that_are_not_there_are_passed_over(cluster, client_at):
    url = cluster.url.replace("://", f"://{HOST}:{free_port()},")

    assert await ask(client_at(url), "SET", "{p}:a", "b")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("keys", [TAGGED, CORTEX], ids=["plugin", "cortex"])
async def test_all_that_a_supervisor_does_works_with_one_tag(cluster, queue_at, protocol, keys):
    """A node refuses scripts that touch keys of two slots, or undeclared ones."""
    queue = queue_at(f"{cluster.url}?protocol={protocol}", keys, Limits(65536, 600, 900))
    cluster.owner_of(keys.requests).client.flushall()
    await check_server(queue)
    await queue.ensure_groups()
    for user, priority in enumerate(("normal", "high", "low"), start=1):
        request = Request(f"r-{user}", "echoes", user, {})
        text = RedisWorld.payload(f"r-{user}")
        publication = Publication(request, text, priority, unique_for_s=60)
        assert (await publish(queue, publication)).what == "published"
    request = Request("r-4", "echoes", 4, {})
    later = Publication(request, RedisWorld.payload("r-4"), delay_s=60)
    assert (await publish(queue, later)).what == "delayed"

    leases = []
    for slot in range(3):
        entry = (await queue.take(f"host.s{slot}")).got
        leases.append(Lease.of(entry, f"host.s{slot}"))
    facts = {"state": "x"}
    said = [
        *await queue.renew(leases),
        await queue.finish(leases[0], Finish(Result("r-2", "completed", "{}")), facts),
        await queue.hand_back(leases[1], HandBack("r-1", 2, "x", "crash", 1.0), facts),
        await queue.bury(
            leases[2],
            Bury(DeadLetter("{}", {"reason": "x"}), Result("r-3", "failed", error="x")),
            facts,
        ),
    ]
    await sweeps.is_anything_held(queue)
    await sweeps.reclaim(queue, "host.sweep", 15, ["0-0"] * len(keys.streams))
    await sweeps.forget(queue, ["host.s0"])
    await sweeps.forget_dead(queue, ["host"], 15)
    await sweeps.living_hosts(queue)
    await sweeps.tidy(queue)
    await Gauges().refresh(queue)
    # Somebody added while we were not listening: it must be heard at once.
    heard = await queue.wait_for_entry(["0-0"] * (len(keys.request_streams) + 1))

    assert said == ["renewed"] * 3 + ["finished", "handed_back", "buried"]
    assert heard


async def test_a_slot_that_moves_is_followed(own_cluster, client_at):
    client = client_at(own_cluster.url)
    await ask(client, "SET", "{p}:a", "b")
    target = own_cluster.others_than(own_cluster.owner_of("{p}:a"))[0]
    own_cluster.move("{p}:a", target)

    with pytest.raises(RedisAway, match=f"MovedError: .*{HOST}:{target.port}"):
        await ask(client, "GET", "{p}:a")
    # As the keeper does it.
    await client.connection_pool.disconnect(inuse_connections=False)

    assert await ask(client, "GET", "{p}:a") == b"b"
    assert f"{HOST}:{target.port}" in where(client)


@pytest.mark.parametrize("begin", ["cluster", "another node", "the owner"])
async def test_when_the_owner_dies_its_replica_is_found(own_cluster, client_at, begin):
    owner = own_cluster.owner_of("{p}:a")
    others = own_cluster.others_than(owner)
    urls = {"cluster": own_cluster.url, "another node": url_of(others[0]), "the owner": ""}
    client = client_at(urls[begin] or url_of(owner))
    await ask(client, "PING")
    # By one connection: WAIT speaks of the writes of its own.
    owner.client.set("{p}:a", "b")
    assert owner.client.wait(1, 5000) == 1
    owner.kill()

    async def is_back():
        await client.connection_pool.disconnect(inuse_connections=False)
        try:
            return await ask(client, "GET", "{p}:a")
        except RedisAway:
            return False

    if begin == "the owner":
        # One address of one dead node: nobody is left to be asked. Several are wanted.
        await eventually(lambda: own_cluster.owner_of("{p}:a"), 20)
        assert not await is_back()
        owner.start()
    assert await eventually(is_back, 60) == b"b"
    assert own_cluster.owner_of("{p}:a") in own_cluster.replicas


async def test_a_slot_that_nobody_serves_is_an_outage(own_cluster, client_at):
    slot = own_cluster.slot_of("{p}:a")
    for node in own_cluster.nodes:
        node.client.execute_command("CLUSTER", "DELSLOTS", slot)

    with pytest.raises(RedisAway, match=r"(?i)hash slot not served|CLUSTERDOWN|cluster is down"):
        await ask(client_at(own_cluster.url), "SET", "{p}:a", "b")


async def test_a_command_is_sent_once(cluster, client_at):
    """No retry of redis-py's (trap R1)."""
    kwargs = client_at(cluster.url).connection_pool.connection_kwargs

    assert kwargs["retry"].get_retries() == 0


async def test_without_any_node_the_reason_names_each_of_them(client_at):
    ports = [free_port(), free_port()]
    client = client_at(f"redis+cluster://u:s3cr3t@{HOST}:{ports[0]},{HOST}:{ports[1]}")

    with pytest.raises(RedisAway) as told:
        await ask(client, "PING")

    assert told.value.where == f"{HOST}:{ports[0]},{HOST}:{ports[1]}"
    assert told.value.cause.count("Connect call failed") == 2
    assert "s3cr3t" not in str(told.value)


async def test_names_with_a_tag_work_on_a_single_server_too(any_server, client_at):
    any_server.empty()
    client = client_at(any_server.url)

    assert await ask(client, "SET", "{p}:a", "b")
    assert where(client) == f"{HOST}:{any_server.port}"


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("redis+cluster://a:1,b", True),
        ("rediss+cluster://u:p@a:1,[::1]:6379/0?protocol=2", True),
        ("redis+cluster://a:1/3", False),
        ("redis+cluster://a:x", False),
        ("redis+cluster://a:1,,b", False),
        ("redis+cluster://u:p/w@a:1", False),
        ("redis://a:1/3", True),
        ("redis://:p@a", True),
        ("redis://a:1/x", False),
        ("redis://a?protocol=9", False),
        ("rediss://a?ssl_cert_reqs=maybe", False),
    ],
)
def test_what_is_an_address_of_a_cluster(url, is_one):
    assert is_url(url, "{p}:requests") is is_one
