"""The offline model over HTTP: a real process, a real client, and hostile requests."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from supervisor.embedded import offline_model
from supervisor.embedded.children import NotMainThread
from supervisor.embedded.conversation import NOTE
from supervisor.embedded.model_server import MAX_BODY_BYTES
from supervisor.embedded.offline_model import (
    NO_KEY,
    OfflineModel,
    OfflineModelFailed,
    provider_key_in,
)
from tests.support.waiting import wait_until

ASK = [{"role": "user", "content": "Find news. Topics: bees"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "read_feeds",
            "parameters": {
                "type": "object",
                "properties": {"topics": {"type": "array", "items": {"type": "string"}}},
                "required": ["topics"],
            },
        },
    }
]


@pytest.fixture(scope="module")
def model():
    with OfflineModel() as model:
        yield model


@pytest.fixture(scope="module")
def client(model):
    with openai.OpenAI(base_url=model.url, api_key="any key will do", max_retries=0) as client:
        yield client


def post(model, body, path="/chat/completions"):
    request = urllib.request.Request(model.url + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def is_gone(pid):
    """A zombie counts: it is for the init process of the machine to collect, at its leisure."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_plain_question_has_an_answer_with_usage(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=ASK)

    assert NOTE in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "crewpool-offline"
    used = answer.usage
    assert used.prompt_tokens == 6
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens > 20


def test_a_tool_call_goes_there_and_back(client):
    choice = client.chat.completions.create(model="gpt-4o", messages=ASK, tools=TOOLS).choices[0]
    (call,) = choice.message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "## Bees dance\nSummary: So."}
    messages = [*ASK, choice.message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)

    assert (choice.finish_reason, call.function.name) == ("tool_calls", "read_feeds")
    assert json.loads(call.function.arguments) == {"topics": ["bees"]}
    assert "## Bees dance\n\nSo." in answer.choices[0].message.content


def test_a_stream_says_the_same_as_the_plain_answer(client):
    plain = client.chat.completions.create(model="gpt-4o", messages=ASK)
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert plain.choices[0].message.content == text
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert plain.usage == chunks[-1].usage


def test_a_tool_call_is_streamed_in_pieces(client):
    with client.chat.completions.stream(model="gpt-4o", messages=ASK, tools=TOOLS) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls

    assert json.loads(call.function.arguments) == {"topics": ["bees"]}


def test_a_structured_answer_can_be_parsed(client):
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = client.chat.completions.create(model="gpt-4o", messages=ASK, response_format=wanted)

    assert json.loads(answer.choices[0].message.content) == {"title": "bees"}


def test_models_and_embeddings_answer(client):
    assert [model.id for model in client.models.list()] == ["crewpool-offline"]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o"
    answer = client.embeddings.create(model="text-embedding-3-small", input=["a b", "c"])
    assert [len(part.embedding) for part in answer.data] == [1536, 1536]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"[" * 1_000_000, 400),
        (b'{"messages": "x"}', 400),
        (b'{"messages": [{"role": "user", "content": {"a": 1}}]}', 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_a_bad_request_is_refused_in_the_shape_of_the_api(model, body, status):
    answered, error = post(model, body)

    assert status == answered
    assert {"message", "type", "param", "code"} == error["error"].keys()
    assert error["error"]["message"]


def test_an_unknown_path_names_the_known_ones(model):
    status, error = post(model, b"{}", "/responses")

    assert status == 404
    assert "/v1/chat/completions" in error["error"]["message"]


def test_a_huge_hostile_prompt_is_answered(model):
    text = "\n".join(["- **a** https://b", "[x](http://", "topics: " * 9, "\ud800"] * 20_000)
    body = json.dumps({"messages": [{"role": "user", "content": f"Current Task:{text}"}]}).encode()

    assert len(body) > MAX_BODY_BYTES // 2
    assert post(model, body)[0] == 200


def test_one_that_hangs_up_or_stalls_does_not_disturb_others(model, client):
    address = model.url.split("/")[2].split(":")
    lines = [socket.create_connection((address[0], int(address[1]))) for _ in range(20)]
    for line in lines:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    lines.pop().close()

    assert client.chat.completions.create(model="m", messages=ASK).choices
    for line in lines:
        line.close()


def test_many_at_once_are_all_answered(client):
    def ask(_):
        return client.chat.completions.create(model="m", messages=ASK).choices[0].message.content

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(ask, range(64)))) == 1


def test_its_environment_leads_an_openai_client_to_it(model, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for name, value in model.environment().items():
        monkeypatch.setenv(name, value)

    with openai.OpenAI(max_retries=0) as client:
        assert client.chat.completions.create(model="gpt-4o", messages=ASK).choices


def test_its_environment_answers_what_would_lead_elsewhere(model):
    variables = model.environment({"BASE_URL": "http://x", "no_proxy": "a.b"})

    assert model.url == variables["BASE_URL"] == variables["CREWPOOL_OFFLINE_MODEL_URL"]
    assert variables["no_proxy"] == "a.b,127.0.0.1"
    assert "BASE_URL" not in model.environment({})


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        ({"PATH": "/bin", "OPENAI_API_KEY": "  "}, None),
        ({"OPENAI_API_KEY": NO_KEY}, None),
        ({"OPENAI_API_KEY": NO_KEY, "GROQ_API_KEY": "x"}, "GROQ_API_KEY"),
        ({"OPENAI_API_KEY": "sk-x"}, "OPENAI_API_KEY"),
        ({"AWS_ACCESS_KEY_ID": "x"}, "AWS_ACCESS_KEY_ID"),
    ],
)
def test_the_variable_with_a_real_key_is_named(environ, name):
    assert name == provider_key_in(environ)


def test_it_stops_and_starts_again():
    model = OfflineModel()
    model.start()
    first = model.pid
    model.start()
    assert first == model.pid
    model.stop()
    assert not model.is_alive()
    model.stop()
    model.start()
    assert model.is_alive()
    model.stop()


def test_one_that_cannot_start_shows_its_last_words(monkeypatch):
    monkeypatch.setattr(offline_model.sys, "executable", "/bin/false")

    with pytest.raises(OfflineModelFailed, match="OPENAI_API_KEY"):
        OfflineModel().start()


def test_it_refuses_to_be_started_from_a_side_thread():
    errors = []

    def start():
        try:
            OfflineModel().start()
        except NotMainThread as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert "main thread" in str(errors[0])


def test_it_dies_with_a_parent_that_is_killed():
    code = (
        "import signal; from supervisor.embedded.offline_model import OfflineModel;"
        "m = OfflineModel(); m.start(); print(m.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)

    wait_until(lambda: is_gone(pid), within_s=1, what="the model is gone")
