"""What the zygote does ahead of the first run: once, for all workers, and without a trace.

In a process of its own, as crewai stays out of this one.
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

FACTS = """
import asyncio, json, os, socket, ssl, sys, threading
from worker.crew.lockdown import lock_down
lock_down(os.environ)
import crewai, httpx
from crewai import LLM
from crewai.agents.agent_executor import AgentExecutor
from crewai.flow.runtime import FlowState
from crewai.events import crewai_event_bus
from pydantic import BaseModel, Field
from worker import gate, rehearsal, warmup

connected = []
def connect(self, address):
    connected.append(str(address))
    raise OSError("no network here")
socket.socket.connect = connect
def files():
    home = os.environ["HOME"]
    return sorted(os.path.join(top, f) for top, _, names in os.walk(home) for f in names)
written = files()
before, emit = dict(os.environ), type(crewai_event_bus).emit
reads = []
def load(self, *_, load=ssl.SSLContext.load_verify_locations, **options):
    reads.append(1)
    return load(self, *_, **options)
ssl.SSLContext.load_verify_locations = load

plain_state = AgentExecutor._initial_state_t
hot, cold = crewai.Crew.kickoff.__code__, crewai.Crew.train.__code__
warmup.warm()
states = [AgentExecutor()._create_initial_state() for _ in range(2)]
facts = {
    "state_is_made_once": type(states[0]) is type(states[1]),
    "state_is_the_same": isinstance(states[0], plain_state) and isinstance(states[0], FlowState),
    "state_has_its_name": str(type(states[0])) == str(plain_state),
    "states_have_ids_of_their_own": states[0].id != states[1].id,
    "moved": crewai.Crew.kickoff.__code__ is not hot and crewai.Crew.kickoff.__code__ == hot,
    "stayed": crewai.Crew.train.__code__ is cold,
    "threads": gate.threads(),
    "connected": connected,
    "has_same_environment": dict(os.environ) == before,
    "has_same_bus": type(crewai_event_bus).emit is emit,
    "files": [file for file in files() if file not in written] + os.listdir("."),
    "makes_loops": asyncio.get_event_loop() is not None,
}
reads.clear()
models = [LLM(model="openai/gpt-4o-mini", api_key=key) for key in ("a", "b")]
facts["reads_for_two_models"] = len(reads)
facts["key_of_second"] = models[1]._client.api_key
made = httpx.create_ssl_context()
pools = [httpx.Client(**o)._transport._pool for o in ({}, {}, {"verify": False}, {"verify": made})]
default, same, unverified, own = (pool._ssl_context for pool in pools)
facts["shares_default"] = default is same
facts["shares_what_was_asked_for"] = len({default, unverified, own, made}) != 3
import certifi
os.environ["SSL_CERT_FILE"] = certifi.where()
facts["heeds_environment"] = httpx.Client()._transport._pool._ssl_context is not default

def from_data(data):
    return len(data)
class Model(BaseModel):
    a: str = "ab"
    many: list = Field(default_factory=list)
    size: int = Field(default_factory=from_data)
facts["model"] = Model().model_dump()

def trial(kickoff):
    crewai.Crew.kickoff = kickoff
    try:
        rehearsal.rehearse()
    except rehearsal.RehearsalFailed as error:
        return str(error)
def starts_thread(self, **_):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
facts["after_thread"] = trial(starts_thread)
def starts_a_short_thread(self, **_):
    threading.Timer(0.02, lambda: None).start()
facts["after_short_thread"] = trial(starts_a_short_thread)
facts["after_error"] = trial(lambda self, **_: 1 / 0)
facts["threads_of_trials"] = gate.threads()
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    folder, home = tmp_path_factory.mktemp("warmup"), tmp_path_factory.mktemp("home")
    ended = subprocess.run(
        [sys.executable, "-c", FACTS],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {**json.loads(ended.stdout.splitlines()[-1]), "said": ended.stderr}


def test_a_rehearsal_leaves_nothing_behind(facts):
    assert facts["threads"] == []
    assert facts["has_same_environment"]
    assert facts["has_same_bus"]
    assert facts["files"] == []


def test_only_a_trial_that_failed_is_told(facts):
    told = [line.split(":")[:2] for line in facts["said"].splitlines()]
    assert told == [["trial kickoff", " ForkGateClosed"], ["trial kickoff", " ZeroDivisionError"]]


def test_a_rehearsal_asks_nobody(facts):
    assert facts["connected"] == []


def test_a_crew_may_ask_for_an_event_loop_afterwards(facts):
    assert facts["makes_loops"]


def test_a_kickoff_that_leaves_a_thread_or_fails_is_tried_in_a_fork_only(facts):
    assert "left a thread" in facts["after_thread"]
    assert "failed" in facts["after_error"]
    assert facts["threads_of_trials"] == []


def test_a_thread_that_is_about_to_end_is_waited_for(facts):
    assert facts["after_short_thread"] is None


def test_what_a_kickoff_calls_is_moved_together(facts):
    assert facts["moved"]
    assert facts["stayed"]


def test_the_class_of_an_agents_state_is_made_once(facts):
    assert facts["state_is_made_once"]
    assert facts["states_have_ids_of_their_own"]


def test_the_class_of_an_agents_state_is_what_crewai_would_have_made(facts):
    assert facts["state_is_the_same"]
    assert facts["state_has_its_name"]


def test_models_share_the_default_tls_context_and_nothing_else(facts):
    assert facts["reads_for_two_models"] == 0
    assert facts["key_of_second"] == "b"
    assert facts["shares_default"]


def test_a_tls_context_that_was_asked_for_is_its_owners_own(facts):
    assert not facts["shares_what_was_asked_for"]
    assert facts["heeds_environment"]


def test_defaults_of_models_are_made_as_before(facts):
    assert facts["model"] == {"a": "ab", "many": [], "size": 2}
