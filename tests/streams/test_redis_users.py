"""The users of deploy/redis: the supervisor's, the application's, and everybody else."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from supervisor.configuration import load
from supervisor.streams import sweeps
from supervisor.streams.gauges import Gauges
from supervisor.streams.keys import Keys
from supervisor.streams.queue import Lease, Limits, Queue
from supervisor.streams.server import check_server
from tests.streams.conftest import START, again, done, failed, taken

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STREAMS = ROOT / "supervisor" / "streams"
# With every sign that a shell, sed, an ACL file or a URL could trip over.
PASSWORD = "its/&own\\wörd #1>%"


@pytest.fixture
def guarded(tmp_path, unused_tcp_port):
    """A Redis started by deploy/redis/start.sh, with `port` and `log_in(user, password)`."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server on the PATH: the start script is written for it")
    env = {
        "PATH": os.environ["PATH"],
        "CREWPOOL_REDIS_PASSWORD": PASSWORD,
        "APPLICATION_REDIS_PASSWORD": "another",
        "USERS_FILE": str(tmp_path / "users.acl"),
    }
    command = [DEPLOY / "redis" / "start.sh", "--dir", tmp_path, "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--port", str(unused_tcp_port)], env=env, stdout=subprocess.PIPE, text=True
    )
    clients = []

    def log_in(user=None, password=None):
        # Without retries: a refused password stays refused.
        once = Retry(NoBackoff(), 0)
        client = redis.Redis(port=unused_tcp_port, username=user, password=password, retry=once)
        clients.append(client)
        return client

    with server:
        try:
            said = []
            for line in server.stdout:
                said.append(line)
                if "Ready to accept connections" in line:
                    break
            assert server.poll() is None, "".join(said)
            yield SimpleNamespace(port=unused_tcp_port, log_in=log_in)
        finally:
            for client in clients:
                client.close()
            server.kill()


def granted(user):
    """The commands that users.acl grants a user by name, without their subcommands."""
    text = (DEPLOY / "redis" / "users.acl").read_text("utf-8")
    rules = re.search(rf"^user {user} .*$", text, re.MULTILINE)[0]
    return set(re.findall(r" \+([a-z]+)", rules))


def test_the_supervisor_is_granted_every_command_that_the_code_names():
    scripts = "".join(path.read_text("utf-8") for path in STREAMS.glob("scripts/*.lua"))
    modules = "".join(path.read_text("utf-8") for path in STREAMS.glob("*.py"))
    in_scripts = {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", scripts)}
    methods = re.findall(r"\b_?(?:client|pipeline|doorbell)\.([a-z]+)\w*\(", modules)
    no_commands = {"pipeline", "execute", "aclose", "register", "connection"}
    in_modules = {"del" if name == "delete" else name for name in methods} - no_commands

    assert {"xack", "xclaim"} <= in_scripts
    assert {"xread", "xgroup"} <= in_modules
    assert (in_scripts | in_modules) - granted("crewpool") == set()


async def test_the_supervisor_can_do_all_that_a_queue_does(guarded):
    application = guarded.log_in("application", "another")
    for number in range(3):
        application.xadd("plugin:requests", {"payload": f'{{"number":{number}}}'})
    url = f"redis://crewpool:{quote(PASSWORD, safe='')}@127.0.0.1:{guarded.port}/0"
    queue = Queue(url, Keys.of(load()), Limits(1_000_000, 60, 60))

    try:
        await check_server(queue)
        await queue.ensure_groups()
        leases = []
        for slot in range(3):
            consumer = f"host-0000.s{slot}"
            leases.append(Lease.of(await taken(queue, consumer), consumer))
        facts = {"state": "completed"}
        said = [
            *await queue.renew(leases),
            await queue.finish(leases[0], done("r-0"), facts),
            await queue.hand_back(leases[1], again("r-1"), facts),
            await queue.bury(leases[2], failed("r-2"), facts),
        ]
        page = await sweeps.reclaim(queue, "host-0000.sweep", 15, START)
        heard = await queue.wait_for_entry(START)
        await Gauges().refresh(queue)
        await sweeps.forget(queue, ["host-0000.s0"])
    finally:
        await queue.close()

    assert said == ["renewed"] * 3 + ["finished", "handed_back", "buried"]
    assert page.entries == []
    assert heard


def test_the_application_publishes_and_reads_results_and_nothing_else(guarded):
    supervisor = guarded.log_in("crewpool", PASSWORD)
    application = guarded.log_in("application", "another")
    supervisor.xadd("plugin:results", {"payload": "{}"})
    supervisor.set("crewpool:done:r-1", "1")

    assert application.xadd("plugin:requests:high", {"payload": "{}"})
    assert application.xgroup_create("plugin:results", "go-workers", id="0")
    assert application.xreadgroup("go-workers", "go-1", {"plugin:results": ">"})
    for refused in (
        lambda: application.get("crewpool:done:r-1"),
        lambda: application.xadd("plugin:requests:dlq", {"payload": "{}"}),
        lambda: application.delete("plugin:requests"),
    ):
        with pytest.raises(NoPermissionError):
            refused()


def test_the_supervisor_is_kept_to_its_own_keys_and_from_the_servers_settings(guarded):
    supervisor = guarded.log_in("crewpool", PASSWORD)

    assert supervisor.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    for refused in (
        supervisor.flushall,
        lambda: supervisor.config_set("maxmemory", 1),
        lambda: supervisor.set("sessions:1", "x"),
        lambda: supervisor.keys("*"),
    ):
        with pytest.raises(NoPermissionError):
            refused()


def test_nobody_gets_in_without_a_password_or_with_a_wrong_one(guarded):
    for stranger in (guarded.log_in(), guarded.log_in("crewpool", "another")):
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_redis_does_not_start_without_its_passwords(tmp_path):
    refused = subprocess.run(
        [DEPLOY / "redis" / "start.sh"],
        env={"PATH": os.environ["PATH"], "USERS_FILE": str(tmp_path / "users.acl")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert refused.returncode != 0
    assert "CREWPOOL_REDIS_PASSWORD" in refused.stderr
    assert not (tmp_path / "users.acl").exists()
