"""Who may come in, and what is said to the others."""

import subprocess

import httpx
import pytest

from supervisor.gateway.tokens import Tokens, TokensUnfit
from tests.support.supervisors import COMMAND
from tests.support.waiting import wait_until

ADA, BOB = "a" * 32, "b" * 32
ASKED = {"plugin_name": "echoes", "user_id": 7}


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    return tmp_path_factory.mktemp("tokens") / "tokens"


@pytest.fixture(scope="module")
def guarded(start_shared, token_file):
    token_file.write_text(f"# Ada's\n{ADA}\n\n  {BOB}  \n")
    return start_shared(CREWPOOL_GATEWAY_TOKEN_FILE=token_file)


@pytest.fixture
def gateway(guarded, redis_server):
    return guarded


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": ADA},
        {"Authorization": f"Basic {ADA}"},
        bearer("c" * 32),
        bearer(ADA[:-1]),
        {"Authorization": "Bearer"},
        bearer(f"{ADA} {ADA}"),
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
def test_without_a_token_that_is_known_nothing_is_done(gateway, world, headers):
    answers = [
        gateway.client.post("/v1/runs", json=ASKED, headers=headers),
        gateway.get("/v1/runs/r-1", headers=headers),
        gateway.get("/v1/runs/r-1/events", headers=headers),
        gateway.client.post("/v1/runs/r-1/cancel", headers=headers),
        gateway.get("/no/such/path", headers=headers),
    ]

    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="crewpool"'
        assert answer.json()["type"].endswith(":unauthorized")
    assert world.client.dbsize() == 0
    assert ADA not in gateway.log()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_a_token_runs_are_taken(gateway, scheme):
    headers = {"Authorization": f"{scheme} {BOB}"}

    assert gateway.client.post("/v1/runs", json=ASKED, headers=headers).status_code == 202


def test_probes_and_the_document_are_for_all(gateway):
    document = gateway.get("/openapi.json")

    assert document.status_code == 200
    assert document.json()["paths"]["/v1/runs"]["post"]["security"] == [{"token": []}]
    assert gateway.get("/health/live").status_code == 200
    assert gateway.get("/health/ready").status_code == 200


def test_a_key_of_another_token_is_another_run(gateway):
    ids = {
        gateway.client.post(
            "/v1/runs", json=ASKED, headers={**bearer(token), "Idempotency-Key": "order-1"}
        ).json()["plugin_run_id"]
        for token in (ADA, BOB, ADA)
    }

    assert len(ids) == 2


def test_tokens_are_read_again_when_they_change(gateway, token_file):
    def status(token):
        return gateway.get("/v1/runs/r-1", headers=bearer(token)).status_code

    before = token_file.read_text()
    new = "n" * 32
    token_file.write_text(f"{new}\n")
    wait_until(lambda: status(new) == 404, what="the new token is known")
    assert status(ADA) == 401

    token_file.write_text("")
    wait_until(lambda: status(new) == 401, what="nobody comes in")
    assert gateway.log_lines("gateway_tokens_unfit")

    token_file.write_text(before)
    wait_until(lambda: status(ADA) == 404, what="the old tokens are back")


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", None])
def test_a_file_that_cannot_be_used_is_told_without_its_content(tmp_path, text):
    path = tmp_path / "tokens"
    if text is not None:
        path.write_text(text)

    with pytest.raises(TokensUnfit, match="tokens (holds|cannot)") as raised:
        Tokens(path)
    assert "short" not in str(raised.value)


# ---- where it listens


def refused(tmp_path, **environment):
    """Start a gateway that shall not start; return what it says."""
    done = subprocess.run(
        [COMMAND[0], "gateway"],
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2, done.stderr
    return " ".join(done.stderr.split())


def test_it_does_not_start_for_all_without_tokens(tmp_path):
    told = refused(tmp_path, CREWPOOL_GATEWAY_HOST="0.0.0.0")

    assert "CREWPOOL_GATEWAY_HOST" in told
    assert "CREWPOOL_GATEWAY_TOKEN_FILE" in told


def test_it_does_not_start_with_a_file_of_tokens_that_is_not_there(tmp_path):
    assert "CREWPOOL_GATEWAY_TOKEN_FILE" in refused(tmp_path, CREWPOOL_GATEWAY_TOKEN_FILE="none")


def test_it_does_not_start_where_another_one_listens(tmp_path, gateway):
    told = refused(tmp_path, CREWPOOL_GATEWAY_PORT=str(gateway.port))

    assert f"cannot listen on port {gateway.port} of 127.0.0.1" in told


def test_without_tokens_it_answers_to_names_of_this_machine_only(shared, redis_server):
    def ask(host):
        return httpx.post(
            f"{shared.url}/v1/runs", json=ASKED, headers={"Host": host}, trust_env=False
        )

    port = shared.port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "[::1]"):
        assert ask(host).status_code == 202
    for host in ("attacker.example", f"localhost.attacker.example:{port}", "10.0.0.1"):
        answer = ask(host)
        assert answer.status_code == 421
        assert answer.json()["type"].endswith(":misdirected")
    assert ask("a:b:c").status_code == 400
