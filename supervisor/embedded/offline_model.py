"""Starts the offline model, and says which variables make a crew use it.

Called by `crewpool up` and `crewpool demo` when no provider's key is in the environment.
Crews reach it through CrewAI's ordinary OpenAI provider, so a crew needs no change. It is no
language model (see docs/offline-model.md), and its answers say so.
"""

import http.client
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from typing import BinaryIO, cast

from supervisor.embedded.children import Child, bare_environment, last_lines
from supervisor.embedded.companion import Companion
from worker.errors import CrewpoolError

HOST = "127.0.0.1"
READY_WITHIN_S = 20.0
STOP_WITHIN_S = 2.0
BACKLOG = 128

URL_VARIABLE = "CREWPOOL_OFFLINE_MODEL_URL"
# Not a word that could occur in a text: workers mask the values of keys in what they say.
NO_KEY = "sk-offline-no-key-is-needed"
# A name that CrewAI knows: it decides on tools and the context window by it.
MODEL_NAME = "gpt-4o-mini"

# What the providers of CrewAI read, natively and through LiteLLM.
PROVIDER_KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "AZURE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "DEEPSEEK_API_KEY",
    "OPENROUTER_API_KEY",
    "CEREBRAS_API_KEY",
    "DASHSCOPE_API_KEY",
    "DEEPINFRA_API_KEY",
    "SNOWFLAKE_PAT",
    "SNOWFLAKE_TOKEN",
    "SNOWFLAKE_JWT",
    "VLLM_API_KEY",
    "OLLAMA_API_KEY",
    "NVIDIA_NIM_API_KEY",
    "WATSONX_APIKEY",
    "HF_TOKEN",
    "SAMBANOVA_API_KEY",
    "COHERE_API_KEY",
    "PERPLEXITYAI_API_KEY",
    "FIREWORKS_AI_API_KEY",
    "TOGETHERAI_API_KEY",
    "XAI_API_KEY",
)


class OfflineModelFailed(CrewpoolError):  # noqa: N818  # named for what happened
    """The program of the offline model ended, or did not answer."""

    def __init__(self, log: str) -> None:
        self.log = log
        super().__init__(
            f"The offline model did not start. Its last words:\n{log or '(none)'}\n"
            "Give crewpool a provider's key (OPENAI_API_KEY=…) to do without it."
        )


def provider_key_in(environ: Mapping[str, str]) -> str | None:
    """Return the name of the variable that holds a real key of a model's provider, or the path
    of a file with one.
    """
    names = (name + end for name in PROVIDER_KEYS for end in ("", "_FILE"))
    return next((name for name in names if environ.get(name, "").strip() not in ("", NO_KEY)), None)


class OfflineModel(Companion):
    """The offline model in a process of its own. `stop()` is safe to repeat."""

    name = "offline model"

    def __init__(self) -> None:
        super().__init__()
        self._log: BinaryIO | None = None

    @property
    def url(self) -> str:
        """The base URL for clients of OpenAI; valid between `start()` and `stop()`."""
        return f"http://{HOST}:{self._port}/v1"

    def start(self) -> None:
        """Start it and wait until it answers. Raises OfflineModelFailed."""
        if self._child is not None:
            return
        self._log = cast("BinaryIO", tempfile.TemporaryFile("w+b"))  # noqa: SIM115  # stop()
        try:
            self._child = self._launched(self._log)
            self._wait_until_ready(self._child, self._log)
        except BaseException:
            self.stop()
            raise

    def begin_again(self) -> None:
        """Start its program on the same port."""
        assert self._log is not None  # noqa: S101  # it was started
        self.child.stop(STOP_WITHIN_S)
        self._child = self._launched(self._log)

    def stop(self) -> None:
        """End it."""
        if self._child is not None:
            self._child.stop(STOP_WITHIN_S)
            self._child = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def environment(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that lead an unmodified crew to this model.

        `environ` (ours by default) is what they will be added to: where it has a proxy, or a
        base URL that CrewAI would take first, these are answered too.
        """
        given = os.environ if environ is None else environ
        variables = {
            "OPENAI_API_KEY": NO_KEY,
            "OPENAI_BASE_URL": self.url,
            "OPENAI_API_BASE": self.url,
            "OPENAI_MODEL_NAME": MODEL_NAME,
            "MODEL_NAME": MODEL_NAME,
            "MODEL": MODEL_NAME,
            URL_VARIABLE: self.url,
        }
        if "BASE_URL" in given:
            variables["BASE_URL"] = self.url
        for name in ("NO_PROXY", "no_proxy"):
            variables[name] = ",".join(filter(None, (given.get(name), HOST)))
        return variables

    def _launched(self, log: BinaryIO) -> Child:
        # We listen before it runs: no port can be lost to somebody else in between.
        with socket.create_server((HOST, self._port), backlog=BACKLOG) as listening:
            self._port = listening.getsockname()[1]
            number = listening.fileno()
            return Child(
                [sys.executable, "-P", "-m", "supervisor.embedded.model_server", str(number)],
                output=log,
                environment=bare_environment(),
                pass_fds=(number,),
            )

    def _wait_until_ready(self, child: Child, log: BinaryIO) -> None:
        """Ask once; the question waits in the socket's backlog until the program is up."""
        line = http.client.HTTPConnection(HOST, self._port, timeout=READY_WITHIN_S)
        try:
            line.request("GET", "/v1/models")
            line.getresponse()
        except (OSError, http.client.HTTPException):  # it ended, and its socket went with it
            child.stop(STOP_WITHIN_S)
            raise OfflineModelFailed(last_lines(log)) from None
        finally:
            line.close()
