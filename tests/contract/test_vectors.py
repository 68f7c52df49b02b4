"""The wire to the byte: what a Go application writes we write, what we write it reads.

vectors.json was made with go_application.go. Where there is a Go, it is asked once more.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor.runs.requests import PluginRequest
from supervisor.streams.wire import Entry, Request, entry_fields, parse, request_payload

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "vectors.json").read_text("utf-8"))
REQUESTS = {vector["name"]: vector for vector in VECTORS["requests"]}
RESULTS = {vector["name"]: vector for vector in VECTORS["results"]}
WORDS = ("plugin_run_id", "status", "output", "error")


def request_of(body):
    return Request(body["plugin_run_id"], body["plugin_name"], body["user_id"], body["settings"])


@pytest.mark.parametrize("name", REQUESTS)
def test_our_publisher_writes_the_bytes_that_go_writes(name):
    body, payload = REQUESTS[name]["request"], REQUESTS[name]["payload"]

    assert request_payload(request_of(body)) == payload
    ours = PluginRequest(
        body["plugin_name"], body["user_id"], body["settings"], body["plugin_run_id"]
    )
    assert ours.publication(2**20).payload == payload


@pytest.mark.parametrize("name", REQUESTS)
def test_what_go_writes_is_the_request_that_was_meant(name):
    payload = REQUESTS[name]["payload"]

    read = parse(Entry("s", "1-0", entry_fields(payload), len(payload)), 2**20)

    assert read == request_of(REQUESTS[name]["request"])


@pytest.mark.parametrize("name", RESULTS)
def test_go_reads_of_a_result_the_words_that_we_wrote(name):
    vector = RESULTS[name]
    ours = json.loads(vector["payload"])

    assert vector["read"] == {word: ours[word] for word in WORDS}
    assert all(isinstance(ours[word], str) for word in WORDS)
    assert vector["output_is_json"]


def test_a_map_that_go_left_nil_is_null_and_means_no_settings():
    payload = '{"plugin_run_id":"r","plugin_name":"p","user_id":0,"settings":null}'

    assert parse(Entry("s", "1-0", entry_fields(payload), 1), 2**20) == Request("r", "p", 0, {})


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go here: its answers are on file")
def test_the_go_of_this_machine_says_the_same(tmp_path):
    asked = {
        "Requests": [vector["request"] for vector in VECTORS["requests"]],
        "Results": [vector["payload"] for vector in VECTORS["results"]],
    }
    command = ["go", "run", str(HERE / "go_application.go")]
    environment = {"PATH": "/usr/bin:/bin:/usr/local/go/bin", "HOME": str(tmp_path)}

    answer = subprocess.run(
        command,
        input=json.dumps(asked),
        text=True,
        capture_output=True,
        env=environment,
        check=True,
    )

    told = json.loads(answer.stdout)
    assert told["requests"] == [vector["payload"] for vector in VECTORS["requests"]]
    assert [one["read"] for one in told["results"]] == [v["read"] for v in VECTORS["results"]]
