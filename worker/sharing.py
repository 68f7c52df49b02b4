"""What all workers use and none changes: made once in the zygote, in place of once a run.

Called by warmup.py. It replaces two functions inside httpx and pydantic by ones that answer
the same; where a version has other names, it raises and nothing is replaced. See
docs/decisions/0011-what-workers-share.md.
"""

import os
import sys
from typing import Any

# What decides, beside its arguments, what a default context is.
_TLS_NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_FACTORIES = (dict, list, set, frozenset, tuple, str, int, float, bool)


def share_tls() -> None:
    """Let httpx's clients that ask for the default TLS context have the same one.

    CrewAI makes two clients for each model, each with a context of its own: 20 ms and 1 MB to
    read the same authorities again. A context that was asked for with `verify` or `cert`, or
    made by hand, stays its owner's own.
    """
    transports: Any = sys.modules["httpx._transports.default"]
    make = transports.create_ssl_context
    made: dict[tuple[object, ...], Any] = {}

    def create_ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:  # noqa: FBT001, FBT002  # httpx's own signature
        if verify is not True or cert:
            return make(verify=verify, cert=cert, trust_env=trust_env)
        key = (trust_env, *(os.environ.get(name) for name in _TLS_NAMES))
        if key not in made:
            made[key] = make(verify=verify, cert=cert, trust_env=trust_env)
        return made[key]

    create_ssl_context()
    transports.create_ssl_context = create_ssl_context


def remember_signatures() -> None:
    """Answer for `list` and its like at once whether they take an argument as a default.

    pydantic asks inspect.signature(), which copies sys.modules for a builtin: the counter of
    each of 2,400 modules is written, and 6 MB become a worker's own. CrewAI makes a model
    for each agent's state, so that every run asks.
    """
    schemas: Any = sys.modules["pydantic._internal._generate_schema"]
    ask = schemas.takes_validated_data_argument
    known = {id(kind): ask(kind) for kind in _FACTORIES}

    def takes_validated_data_argument(default_factory: Any) -> Any:
        if (answer := known.get(id(default_factory))) is not None:
            return answer
        return ask(default_factory)

    schemas.takes_validated_data_argument = takes_validated_data_argument


def share_state() -> None:
    """Make the class of an agent's state once, as CrewAI does it anew for each agent of a run.

    A class costs pydantic 5 ms and a schema: 0.4 MB of copied pages for each agent, and as much
    garbage. It keeps the names of the class that it replaces: definitions of flows tell them.
    """
    states: Any = sys.modules["crewai.flow.runtime"].FlowState
    executor: Any = sys.modules["crewai.agents.agent_executor"].AgentExecutor
    plain = executor._initial_state_t  # noqa: SLF001  # no public way in
    if not issubclass(plain, states):
        names = {"__module__": plain.__module__, "__qualname__": plain.__qualname__}
        executor._initial_state_t = type(states)(plain.__name__, (states, plain), names)  # noqa: SLF001
