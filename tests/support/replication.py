"""A primary with a replica and one sentinel, as processes on 127.0.0.1.

The sentinel decides alone (quorum 1) and soon, so that a failover takes three seconds in a
test; but not so soon that a busy machine looks like a dead primary.
"""

from tests.support.servers import HOST, RedisServer, ValkeyServer, client_of, free_port
from tests.support.waiting import wait_until

SERVICE = "main"
DOWN_AFTER_MS = 2000


class _Guarded:
    """A server that may have a password."""

    password = None

    @property
    def client(self):
        if self._client is None:
            self._client = client_of(self.url, password=self.password)
        return self._client


class _Sentinel(_Guarded):
    """A sentinel instead of a server that holds data; mixed into a kind of server."""

    primary = None

    def _options(self):
        # It rewrites its file itself, and starts with no other.
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.folder}",
            *(f"{name} {value}" for name, value in self._more.items()),
            f"sentinel monitor {SERVICE} {HOST} {self.primary.data_port} 1",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 4000",
            *self._passwords(),
        ]
        file = self.folder / "sentinel.conf"
        if not file.exists():
            file.write_text("\n".join(lines) + "\n")
        return [str(file), "--sentinel"]

    def _passwords(self):
        theirs = self.primary.password
        return [
            *([f"sentinel auth-pass {SERVICE} {theirs}"] if theirs else []),
            *([f"requirepass {self.password}"] if self.password else []),
        ]


class _Data(_Guarded):
    """A server that may be the primary or a replica of it."""

    @property
    def data_port(self):
        """The port that everybody but the test talks to."""
        return self._more.get("tls-port", self.port)

    def _options(self):
        secret = {"requirepass": self.password, "masterauth": self.password}
        words = [w for k, v in secret.items() if v for w in (f"--{k}", v)]
        return [*super()._options(), *words]


def _kinds_of(kind):
    base = ValkeyServer if kind == "valkey" else RedisServer
    data = type(f"{base.__name__}WithReplica", (_Data, base), {})
    sentinel = type(f"{base.__name__}Sentinel", (_Sentinel, base), {"url": base.url})
    return data, sentinel


class Replication:
    """`primary` and `replica` are those of the beginning; `now()` is who is the primary."""

    def __init__(self, folder, kind="redis", *, password=None, sentinel_password=None, tls=None):
        """Make them; with `tls`, an authority, they speak TLS with each other and with us."""
        data, sentinel = _kinds_of(kind)

        def options():
            if tls is None:
                return {}
            return {**tls.server_options(), "tls_port": free_port(), "tls_replication": "yes"}

        # A replica takes its data from the primary's disk or socket; at once, for a test.
        quick = {"repl_diskless_sync_delay": 0, "appendonly": True}
        self.primary = data.or_skip(folder / "primary", **quick, **options())
        self.replica = data.or_skip(folder / "replica", **quick, **options())
        self.sentinel = sentinel.or_skip(folder / "sentinel", **options())
        for server in (self.primary, self.replica):
            server.password = password
        self.sentinel.primary, self.sentinel.password = self.primary, sentinel_password
        self._running = []

    def start(self):
        """Start all three; return when the sentinel knows both others, and they are in step."""
        self._start(self.primary)
        self._start(self.replica)
        self.replica.client.replicaof(HOST, self.primary.data_port)
        wait_until(
            lambda: self.replica.client.info("replication")["master_link_status"] == "up",
            what="the replica is in step",
        )
        self._start(self.sentinel)
        wait_until(self._is_known, 20, "the sentinel knows the replica")
        return self

    def stop(self):
        """End all that still runs."""
        for server in reversed(self._running):
            server.kill()
        self._running.clear()

    def kill_primary(self):
        """End the primary of the beginning as a power cut would."""
        self.primary.kill()
        self._running.remove(self.primary)

    def part(self):
        """Cut the replica off its primary, for good; needs a password. It can be promoted yet."""
        self.replica.client.config_set("masterauth", "another")
        self.primary.client.client_kill_filter(_type="replica")

        def is_parted():
            return self.primary.client.info("replication")["connected_slaves"] == 0

        wait_until(is_parted, what="the replica is cut off")

    @property
    def url(self):
        if port := self.sentinel._more.get("tls-port"):
            return f"rediss+sentinel://{HOST}:{port}/{SERVICE}/0"
        return f"redis+sentinel://{HOST}:{self.sentinel.port}/{SERVICE}/0"

    def fail_over(self):
        """Let the sentinel change the roles of two healthy servers."""
        self._ask("SENTINEL", "FAILOVER", SERVICE)
        return self.wait_failed_over()

    def now(self):
        """Return the server that the sentinel names as the primary."""
        _, port = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return self.primary if int(port) == self.primary.data_port else self.replica

    def wait_failed_over(self, within_s=20):
        """Return the new primary when it takes writes."""

        def is_over():
            return self.now() is self.replica and (
                self.replica.client.info("replication")["role"] == "master"
            )

        wait_until(is_over, within_s, "the replica is the primary")
        return self.replica

    def _start(self, server):
        server.start()
        self._running.append(server)

    def _ask(self, *words):
        return self.sentinel.client.execute_command(*words)

    def _is_known(self):
        """Whether a failover would find a replica that is fit for it."""
        if not (found := self._ask("SENTINEL", "REPLICAS", SERVICE)):
            return False
        facts = found[0]
        if isinstance(facts, list):
            facts = dict(zip(facts[::2], facts[1::2], strict=True))
        return facts["flags"] == "slave" and facts["master-link-status"] == "ok"
