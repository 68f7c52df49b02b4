"""The gateway as a process: started, asked over HTTP, followed, signalled, and always ended."""

import json
import os
import re
import subprocess

import httpx

from tests.support.linux import adopt_orphans, die_with_pytest
from tests.support.supervisors import COMMAND, DRILLS, PASSED_ON, parsed
from tests.support.waiting import wait_until


class GatewayProcess:
    """One `crewpool gateway`. `environment` adds to, or with None takes from, the defaults."""

    def __init__(self, redis_url, folder, *, plugin_dir=DRILLS, **environment):
        self.folder = folder
        self.log_file = folder / "gateway.log"
        self.process = None
        merged = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "REDIS_URL": redis_url,
            "PLUGIN_DIR": plugin_dir,
            "CREWPOOL_GATEWAY_PORT": "0",
            "CREWPOOL_GATEWAY_HTTP_PORT": "0",
            **environment,
        }
        self._environment = {k: str(v) for k, v in merged.items() if v is not None}
        self.client = None

    def start(self):
        """Start it; return when it listens."""
        adopt_orphans()
        self.folder.mkdir(parents=True)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [COMMAND[0], "gateway"],
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_pytest,  # noqa: PLW1509  # it takes no lock
            )
        wait_until(self._listens, 20, "the gateway listens")
        self.client = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        return self

    @property
    def address(self):
        return self.log_lines("gateway_started")[0]["http"]

    def metrics(self):
        """Return the samples by name and labels, as they are scraped."""
        lines = [line for line in self._probe("metrics").text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in (ln.rpartition(" ") for ln in lines)}

    def ready(self):
        """Return the status that operators get who ask whether it is ready."""
        return self._probe("health/ready").status_code

    def _probe(self, path):
        address = self.log_lines("gateway_started")[0]["probes"]
        return self.client.get(f"http://{address}/{path}")

    @property
    def url(self):
        return f"http://{self.address}"

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def get(self, path, **options):
        return self.client.get(path, **options)

    def ask(self, body=None, **headers):
        """Ask for a run; `body` may be bytes that are no JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.client.post("/v1/runs", content=content, headers=sent)

    def cancel(self, run_id):
        return self.client.post(f"/v1/runs/{run_id}/cancel")

    def follow(self, run_id, **headers):
        """Yield the events of a run: (event, id, data), until the gateway ends it."""
        path, sent = f"/v1/runs/{run_id}/events", headers
        with self.client.stream("GET", path, headers=sent, timeout=30) as answer:
            assert answer.status_code == 200, answer.read()
            yield from events_in(answer.iter_lines())

    def log(self):
        return self.log_file.read_text("utf-8", "replace")

    def log_lines(self, event):
        found = map(parsed, self.log().splitlines())
        return [line for line in found if line is not None and line.event == event]

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, within_s=15):
        wait_until(lambda: self.process.poll() is not None, within_s, "the gateway has left")
        return self.process.returncode

    def end(self):
        if self.client is not None:
            self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def _listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"it left with {self.process.returncode}:\n{self.log()[-3000:]}")
        return self.log_lines("gateway_started")


def events_in(lines):
    """Yield the events in lines: (event, id, data). Comments are left out."""
    fields = {}
    for line in lines:
        if not line and fields:
            yield fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"])
            fields = {}
        elif match := re.match(r"(\w+): ?(.*)", line):
            fields[match[1]] = match[2]


def read_until(client, text):
    """Read what comes until a text was in it; return all of it."""
    client.settimeout(20)
    found = b""
    while text not in found:
        part = client.recv(65536)
        assert part, f"it hung up after {found[-500:]!r}"
        found += part
    return found


async def get(port, path):
    """Ask the gateway in this loop."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}")


async def post(port, body, path="/v1/runs"):
    """Ask the gateway in this loop for a run."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.post(f"http://127.0.0.1:{port}{path}", json=body)
