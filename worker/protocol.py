"""The words on a worker's socketpair and on the zygote's control socket.

A frame is four bytes of length (big endian) and that many bytes of JSON. Both ends check
what they read: crew code lives in the worker's process and may write anything. No I/O is
done here, so that the asyncio side and the blocking side share one decoder.
A stream socket, not SEQPACKET: there a message is bounded by the send buffer (trap O14).
"""

import signal
import struct
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from worker.errors import FrameInvalid

HEADER = struct.Struct("!I")
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_TEXT = 10_000
# Supervisor → worker, beside the frames: write the stacks of all threads to stderr.
# faulthandler's handler is C and answers from inside a C loop that holds the GIL.
STACKS_SIGNAL = signal.SIGUSR1


# What a worker counts goes into metrics and records: below zero, or with 4,000 digits, it
# would break what reads it.
Count = Annotated[int, Field(ge=0, le=2**53)]
# Of names that a crew gives to things, for the log.
MOST_NAMES = 20
LONGEST_NAME = 100
Names = Annotated[
    tuple[Annotated[str, Field(max_length=LONGEST_NAME)], ...], Field(max_length=MOST_NAMES)
]
# The hash of a plugin's files (worker/code.py); "" where it is not known.
Code = Annotated[str, Field(pattern="^([0-9a-f]{12})?$")]


class Word(BaseModel):
    """Base of all messages: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Assignment(Word):
    """Supervisor → worker: run this. At most one is out at a time.

    `env` are the variables that this plugin alone may see, for this run.
    """

    kind: Literal["assignment"] = "assignment"
    run_id: str
    plugin: str
    attempt: int
    user_id: int
    settings: dict[str, Any]
    env: dict[str, str] = Field({}, repr=False)


class Alone(Word):
    """Supervisor → worker that was ordered ahead: the one before you is gone, and what it left
    in the slot's other folder is yours to remove.
    """

    kind: Literal["alone"] = "alone"


class Ready(Word):
    """Worker → supervisor: booted, idle. Its pid is told by the zygote."""

    kind: Literal["ready"] = "ready"


class Tokens(Word):
    """Tokens of one run, counted from LLMCallCompletedEvent (trap C9)."""

    prompt: Count = 0
    completion: Count = 0
    calls: Count = 0

    def plus(self, other: "Tokens") -> "Tokens":
        """Return the sum of both."""
        return Tokens(
            prompt=self.prompt + other.prompt,
            completion=self.completion + other.completion,
            calls=self.calls + other.calls,
        )


# By the name of the model. What is above the number goes under OTHER_MODELS.
MOST_MODELS = 16
OTHER_MODELS = "others"
Models = Annotated[
    dict[Annotated[str, Field(max_length=LONGEST_NAME)], Tokens], Field(max_length=MOST_MODELS)
]


class Progress(Word):
    """Worker → supervisor: where the crew is. `task` counts from 1; 0 is before the first.

    `code` comes once, before a plugin is imported that the zygote has not imported.
    """

    kind: Literal["progress"] = "progress"
    run_id: str
    code: Code = ""
    task: Count = 0
    tasks: Count = 0
    task_name: str = Field("", max_length=200)
    agent: str = Field("", max_length=200)
    tool: str = Field("", max_length=200)
    # The model that has been asked and has not answered yet.
    call: str = Field("", max_length=200)
    tokens: Tokens = Tokens()
    models: Models = {}


class Left(Word):
    """What a crew left behind in its worker, as the worker sees it (worker/crew/audit.py).

    `threads` and `children` ("pid name") are leaks, by name; `standing` is the number of
    further threads that stay by design. `fds` are more open descriptors than before, `sockets`
    among them, and `open` says what they are; `rss_bytes` is by how much memory grew.
    """

    threads: Names = ()
    children: Names = ()
    standing: Count = 0
    fds: Count = 0
    sockets: Count = 0
    open: Names = ()
    rss_bytes: Count = 0


class Outcome(Word):
    """Worker → supervisor: the run ended by itself.

    `output` is JSON text when completed, "" otherwise. `stack` is for the log and the dead
    letter, never for the result. `invalid` means that the run never started: its plugin or
    settings are at fault. `retry_after_s` is what the model asked for, when `rate_limited`.
    """

    kind: Literal["outcome"] = "outcome"
    run_id: str
    code: Code = ""
    ended: Literal["completed", "exception", "invalid", "rate_limited", "needs_human", "oom"]
    retry_after_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    output: str = ""
    error: str = Field("", max_length=MAX_TEXT)
    stack: str = Field("", max_length=4 * MAX_TEXT)
    duration_s: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)] = 0.0
    tokens: Tokens = Tokens()
    models: Models = {}
    left: Left = Left()


class Spawn(Word):
    """Supervisor → zygote: fork a worker for this slot. Descriptors travel along: the worker's
    end of its socketpair, the write end of its log pipe, and where there are control groups the
    folder of the one that it shall be born in. A slot has two berths, with a folder each: one
    ordered ahead boots beside the worker that it will follow.
    """

    kind: Literal["spawn"] = "spawn"
    slot: int
    order: int
    berth: Literal[0, 1] = 0
    is_ahead: bool = False


class Forked(Word):
    """Zygote → supervisor: the worker of that order exists and is the supervisor's child."""

    kind: Literal["forked"] = "forked"
    order: int
    pid: int = Field(gt=1)


class Refused(Word):
    """Zygote → supervisor: cannot fork (the fork gate names the threads), or cannot start.

    `is_passing`: the system has no room for a process now; the zygote is well.
    """

    kind: Literal["refused"] = "refused"
    order: int | None = None
    reason: str = Field(max_length=MAX_TEXT)
    is_passing: bool = False


class Importing(Word):
    """Zygote → supervisor: I import this plugin now, and its code has this hash. If I am not
    heard of any more, it was that.
    """

    kind: Literal["importing"] = "importing"
    plugin: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    code: Code = ""


class Felled(NamedTuple):
    """Supervisor → zygote, at its start: do not import this plugin while its code is the same
    (`code` is "": whatever it is).

    A zygote before ended with it, for this reason. Its runs fail with the reason where
    `is_refused`, and else try the import in their workers.
    """

    plugin: str
    code: str
    reason: str
    is_refused: bool


class ZygoteReady(Word):
    """Zygote → supervisor: imports are done and frozen.

    `code` has the hashes of the plugins that were imported. The others are imported in the
    worker instead: `lazy` ones, which start threads, and those whose import `failed`, each
    with the reason.
    """

    kind: Literal["zygote_ready"] = "zygote_ready"
    modules: int
    import_s: float
    lazy: dict[str, str] = {}
    failed: dict[str, str] = {}
    code: dict[str, Code] = {}


Message = (
    Assignment
    | Alone
    | Ready
    | Progress
    | Outcome
    | Spawn
    | Forked
    | Refused
    | Importing
    | ZygoteReady
)
_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])


def encode(word: Message) -> bytes:
    """Return the frame of a message. Raises FrameInvalid when it is above the cap."""
    body = word.model_dump_json().encode("utf-8", "backslashreplace")
    if len(body) > MAX_FRAME_BYTES:
        raise FrameInvalid(f"{len(body)} bytes are above the cap of {MAX_FRAME_BYTES}")
    return HEADER.pack(len(body)) + body


class Decoder:
    """Turns a stream of bytes back into messages, however it was cut on the way."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes in; return the messages that are complete. Raises FrameInvalid."""
        self._buffer += data
        words: list[Message] = []
        while (frame := self._next_frame()) is not None:
            try:
                words.append(_ANY.validate_json(frame))
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False)[0]
                raise FrameInvalid(f"{first['type']} at {first['loc']}") from None
        return words

    def _next_frame(self) -> bytes | None:
        if len(self._buffer) < HEADER.size:
            return None
        (length,) = HEADER.unpack_from(self._buffer)
        if length > MAX_FRAME_BYTES:
            raise FrameInvalid(f"a frame claims {length} bytes")
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return frame
