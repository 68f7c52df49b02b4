"""Redis dies in mid-load and another takes its place, or the same comes back: no run is lost.

Each run that the application saw accepted has one result on the server that is there at the
end, and nothing is left over.
"""

import pytest

from tests.support.application import Application, NamedWorld, mixed_load
from tests.support.clusters import Cluster
from tests.support.redis_world import RedisWorld
from tests.support.replication import Replication
from tests.support.servers import RedisServer
from tests.support.supervisors import QUICK_LEASES
from tests.support.waiting import wait_until

RUNS = 30
PASSWORD = "s3cr3t-word"
OPTIONS = {**QUICK_LEASES, "CREWPOOL_WORKERS": 3, "CREWPOOL_QUARANTINE_CRASHES": 0}

pytestmark = pytest.mark.slow


@pytest.fixture
def publish():
    """Start applications; they leave with the test."""
    started = []

    def start(*arguments, **options):
        started.append(Application(*arguments, mixed_load(RUNS), **options).start())
        return started[-1]

    yield start
    for application in started:
        application.stop()


def wait_mid_load(supervisor, application):
    """Return when a part is accepted, a part is done, and something runs."""
    wait_until(lambda: len(application.accepted) >= RUNS // 3, 30)
    wait_until(lambda: supervisor.log_lines("run_completed"))
    wait_until(lambda: supervisor.busy("sleeps"))


def assert_all_is_well(world, application, supervisor):
    wait_until(lambda: application.is_done, 60, "all are published")
    wait_until(lambda: world.have_results(application.accepted), 60, "all have results")
    wait_until(lambda: not world.pending(), what="nothing is pending")
    world.assert_exactly_one_result(application.accepted)
    world.assert_nothing_pending()
    statuses = {run.split("-", 2)[2]: world.result(run)["status"] for run in application.accepted}
    assert statuses == {
        "echoes": "completed",
        "sleeps": "completed",
        "raises": "failed",
        "exits": "failed",
    }
    assert supervisor.log_lines("redis_away")
    assert supervisor.log_lines("redis_back")
    assert PASSWORD not in supervisor.log()
    assert supervisor.stop() == 0


@pytest.mark.parametrize("how", ["dies", "freezes"])
def test_when_the_primary_is_gone_and_a_sentinel_names_another(
    tmp_path, start_supervisor, publish, how
):
    """A frozen one wakes up as somebody who believes to be the primary (trap R17)."""
    servers = Replication(tmp_path / "servers", password=PASSWORD).start()
    try:
        url = servers.url.replace("://", f"://:{PASSWORD}@")
        supervisor = start_supervisor(url, **OPTIONS).wait_idle(3)
        application = publish(servers.now, replicas=1, password=PASSWORD)
        wait_mid_load(supervisor, application)

        if how == "dies":
            servers.kill_primary()
        else:
            servers.primary.pause()
        primary = servers.wait_failed_over()
        application.need_no_replica()
        wait_until(lambda: supervisor.log_lines("redis_back"), 20)
        if how == "freezes":
            servers.primary.resume()

        assert_all_is_well(RedisWorld(primary.client), application, supervisor)
        assert "(main of the sentinels " in supervisor.log_lines("redis_away")[0]["where"]
    finally:
        servers.stop()


def test_a_failover_by_hand_is_followed_before_sentinel_tells_the_old_primary(
    tmp_path, start_supervisor
):
    """The old one answers for ten seconds more. Who sleeps there hears of nothing."""
    servers = Replication(tmp_path / "servers").start()
    try:
        supervisor = start_supervisor(servers.url, **OPTIONS).wait_idle(3)
        world = RedisWorld(servers.fail_over().client)
        assert servers.primary.client.info("replication")["role"] == "master"
        run = world.publish()

        wait_until(lambda: world.result(run), 6)

        (away,) = supervisor.log_lines("redis_away")
        assert f"the primary is 127.0.0.1:{servers.replica.port} now" in away["error"]
        assert float(supervisor.log_lines("redis_back")[0]["away_s"]) < 2
    finally:
        servers.stop()


def test_what_no_replica_had_seen_is_done_again(tmp_path, start_supervisor):
    """Replication is asynchronous (trap R17): a take and a finish that Redis acknowledged are
    gone with the primary. On the one that is left, each run has one result.
    """
    servers = Replication(tmp_path / "servers", password=PASSWORD).start()
    try:
        url = servers.url.replace("://", f"://:{PASSWORD}@")
        supervisor = start_supervisor(url, **{**OPTIONS, "CREWPOOL_WORKERS": 2}).wait_idle(2)
        old = RedisWorld(servers.primary.client)
        # At the cut, two are in hand and two wait. Beyond it, the first two end and the
        # others begin; one of these ends as well.
        settings = ({"seconds": 3}, {"seconds": 3.2}, {"seconds": 0}, {"seconds": 5})
        runs = [old.publish(f"r-{n}", "sleeps", more) for n, more in enumerate(settings)]
        wait_until(lambda: len(supervisor.log_lines("run_started")) == 2)
        assert servers.primary.client.wait(1, 1000) == 1
        servers.part()
        wait_until(lambda: supervisor.log_lines("run_started", run="r-3"))
        wait_until(lambda: old.have_results(runs[:3]), what="results that will be lost")

        servers.kill_primary()
        world = RedisWorld(servers.wait_failed_over().client)
        assert world.results() == []

        wait_until(lambda: world.have_results(runs), 40)
        wait_until(lambda: not world.pending())
        world.assert_exactly_one_result(runs)
        world.assert_nothing_pending()
        assert [world.result(run)["status"] for run in runs] == ["completed"] * 4
        assert supervisor.stop() == 0
    finally:
        servers.stop()


@pytest.mark.parametrize(("names", "fsync"), [("plugin", "everysec"), ("cortex", "always")])
def test_when_redis_dies_and_comes_back_with_its_append_only_file(
    tmp_path, start_supervisor, publish, names, fsync
):
    streams = {
        "plugin": ("plugin:requests", "plugin:results"),
        "cortex": ("cortex:tasks:normal", "cortex:results"),
    }[names]
    server = RedisServer.or_skip(tmp_path / "server", appendonly=True, appendfsync=fsync).start()
    try:
        supervisor = start_supervisor(server.url, **OPTIONS, CREWPOOL_NAMES=names).wait_idle(3)
        application = publish(lambda: server, stream=streams[0])
        wait_mid_load(supervisor, application)

        server.kill()
        wait_until(lambda: supervisor.readiness()[0] == 503)
        server.start()

        assert_all_is_well(NamedWorld(server.client, *streams), application, supervisor)
    finally:
        server.stop()


def test_when_the_node_of_a_cluster_dies_and_its_replica_takes_over(
    tmp_path, start_supervisor, publish
):
    nodes = Cluster(tmp_path / "nodes", replicas=True).start()
    try:
        supervisor = start_supervisor(
            nodes.url,
            **OPTIONS,
            CREWPOOL_REQUESTS_STREAM="{plugin}:requests",
            CREWPOOL_RESULTS_STREAM="{plugin}:results",
            CREWPOOL_DEAD_LETTERS_STREAM="{plugin}:requests:dlq",
        ).wait_idle(3)

        def owner():
            return nodes.owner_of("{plugin}:requests")

        application = publish(owner, stream="{plugin}:requests", replicas=1)
        wait_mid_load(supervisor, application)

        owner().kill()
        wait_until(owner, 30, "the replica took over")
        application.need_no_replica()

        names = ("{plugin}:requests", "{plugin}:results", "{plugin}:crewpool:resumed")
        world = NamedWorld(owner().client, *names)
        assert_all_is_well(world, application, supervisor)
    finally:
        nodes.stop()
