"""A cluster of three nodes, as processes on 127.0.0.1.

Put together by hand: `redis-cli --cluster create` exists for Redis only, and wants to be
answered. Each node may have a replica.
"""

from tests.support.servers import HOST, RedisServer, ValkeyServer, free_port
from tests.support.waiting import wait_until

SLOTS = 16384
# A node that is silent for so long has failed. Short, so that a failover takes three seconds.
NODE_TIMEOUT_MS = 2000


class Cluster:
    """`nodes` hold the slots, a third each; `replicas` are theirs, in the same order."""

    def __init__(self, folder, kind="redis", *, nodes=3, replicas=False, tls=None):
        """Make them; with `tls`, an authority, they speak TLS with each other and with us."""
        base = ValkeyServer if kind == "valkey" else RedisServer
        self._tls = tls
        self.nodes = [self._node(base, folder / f"node-{n}") for n in range(nodes)]
        count = nodes * replicas
        self.replicas = [self._node(base, folder / f"replica-{n}") for n in range(count)]

    def start(self):
        """Start all nodes, give them the slots, and return when they agree."""
        for node in self.all:
            node.start()
        self._meet()
        bounds = [SLOTS * n // len(self.nodes) for n in range(len(self.nodes) + 1)]
        for node, begin, end in zip(self.nodes, bounds, bounds[1:], strict=False):
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        for replica, node in zip(self.replicas, self.nodes, strict=False):
            replica.client.execute_command("CLUSTER", "REPLICATE", node.id)
        wait_until(self._agree, 30, "the cluster is whole")
        return self

    def stop(self):
        """End all that still runs."""
        for node in self.all:
            if node.is_running:
                node.kill()

    @property
    def all(self):
        return [*self.nodes, *self.replicas]

    @property
    def url(self):
        scheme = "rediss+cluster" if self._tls else "redis+cluster"
        return f"{scheme}://" + ",".join(f"{HOST}:{node.data_port}" for node in self.nodes)

    def slot_of(self, name):
        """Return the slot of a name."""
        return self.living[0].client.execute_command("CLUSTER", "KEYSLOT", name)

    @property
    def living(self):
        return [node for node in self.all if node.is_running]

    def owner_of(self, name):
        """Return the node that holds a name, None while nobody does."""
        slot = self.slot_of(name)
        for node in self.living:
            # A node that was cut off tells of an older world, and of itself as failed.
            if any(first <= slot <= last for first, last in node.own_slots()):
                return node
        return None

    def others_than(self, owner):
        """Return the nodes that hold slots, but not those of this one."""
        return [node for node in self.nodes if node is not owner]

    def move(self, name, target):
        """Move the slot of a name, with all that is in it, to another node."""
        slot, source = self.slot_of(name), self.owner_of(name)
        target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        while keys := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.client.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.others_than(target)):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def _node(self, base, folder):
        options = {}
        if self._tls is not None:
            options = {**self._tls.server_options(), "tls_port": free_port()}
            options |= {"tls_cluster": "yes", "tls_replication": "yes"}
        return _node(base, folder, options)

    def _meet(self):
        """Let all know all. A handshake that takes longer than the timeout is forgotten."""
        first = self.nodes[0]

        def all_have_met():
            for node in self.all[1:]:
                if first.id not in node.known():
                    node.client.execute_command("CLUSTER", "MEET", HOST, first.data_port, first.bus)
            everybody = {node.id for node in self.all}
            return all(node.known() == everybody for node in self.all)

        wait_until(all_have_met, 30, "all nodes have met")

    def _agree(self):
        whole = all(
            "cluster_state:ok" in node.ask("INFO")
            and f"cluster_known_nodes:{len(self.all)}" in node.ask("INFO")
            for node in self.all
        )
        return whole and all(
            replica.client.info("replication").get("master_link_status") == "up"
            for replica in self.replicas
        )


class _Node:
    """A node of a cluster; mixed into a kind of server."""

    @property
    def is_running(self):
        return self._process is not None

    @property
    def data_port(self):
        """The port that everybody but the test talks to."""
        return self._more.get("tls-port", self.port)

    @property
    def id(self):
        return self.ask("MYID")

    def ask(self, *words):
        """Ask about the cluster; the answer as text."""
        return str(self.client.execute_command("CLUSTER", *words))

    def known(self):
        """Return the ids of the nodes that this one knows by more than their address."""
        return {line[0] for line in self._nodes() if "handshake" not in line[2]}

    def own_slots(self):
        """Return the ranges of slots that this node serves."""
        (mine,) = [line for line in self._nodes() if "myself" in line[2]]
        if "master" not in mine[2]:
            return []
        ranges = [word.split("-") for word in mine[8:] if not word.startswith("[")]
        return [(int(r[0]), int(r[-1])) for r in ranges]

    def _nodes(self):
        return [line.split() for line in self.ask("NODES").splitlines()]


def _node(base, folder, options):
    bus = free_port()
    kind = type(f"{base.__name__}Node", (_Node, base), {"bus": bus})
    # By itself it would take the port + 10,000, which may be none.
    return kind.or_skip(
        folder,
        cluster_enabled="yes",
        cluster_port=bus,
        cluster_node_timeout=NODE_TIMEOUT_MS,
        cluster_replica_validity_factor=0,
        repl_diskless_sync_delay=0,
        appendonly=True,
        **options,
    )
