"""The settings of workers: how many, what they may see and use, and when they are replaced.

Part of supervisor/settings.py, in a room of its own. Lengths in seconds, sizes in bytes.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from supervisor import cpus
from worker.sizes import Size, text_of

# What the environment of a worker may hold, besides what the zygote sets by itself.
_WORKER_ENV = """
    PATH HOME USER LANG LANGUAGE LC_* TZ TMPDIR LD_LIBRARY_PATH VIRTUAL_ENV
    PYTHONPATH PYTHONHASHSEED PYTHONUTF8
    SSL_CERT_* REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy
    MODEL MODEL_NAME OPENAI_* ANTHROPIC_* GEMINI_* GOOGLE_* AZURE_* AWS_* GROQ_* MISTRAL_*
    OPENROUTER_* DEEPSEEK_* OLLAMA_* COHERE_* CEREBRAS_* DASHSCOPE_* DEEPINFRA_* SNOWFLAKE_*
    NVIDIA_NIM_* WATSONX_* SAMBANOVA_* VLLM_* PERPLEXITYAI_* FIREWORKS_AI_* TOGETHERAI_* XAI_*
    HF_TOKEN BASE_URL TAVILY_* SERPER_* CREWPOOL_OFFLINE_MODEL_URL
"""
WORKER_ENV = tuple(_WORKER_ENV.split())
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Words = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(
        lambda v: re.split(r"[\s,]+", v.strip()) if isinstance(v, str) and v else v or ()
    ),
]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


def _workers(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return min(cpus.usable(), 512)
    if isinstance(value, str) and not value.strip().isdecimal():
        raise ValueError("must be a whole number from 1 to 512, or auto")
    return value


class WorkerSettings(BaseModel):
    """What holds for the workers of all plugins; plugin.yaml may say other for some of it."""

    workers: Annotated[int, BeforeValidator(_workers), Field(ge=1, le=512)] = Field(
        2, description="crews at a time; auto: one for each CPU that may be used"
    )
    min_workers: int | None = Field(
        None, ge=1, le=512, description="fewest slots when following the backlog"
    )
    max_workers: int | None = Field(
        None, ge=1, le=512, description="most slots when following the backlog; none: it is not"
    )
    worker_nice: int = Field(0, ge=0, le=19, description="how much workers yield to others")
    worker_affinity: Literal["none", "core"] = Field(
        "none", description="core: each slot stays on one CPU"
    )
    max_runs_per_worker: Count = Field(
        100, description="runs after which a worker is replaced, about; 0: never, 1: each time"
    )
    max_worker_age_s: float = Field(
        3600, ge=0, allow_inf_nan=False, description="age at which it is replaced; 0: never"
    )
    memory_soft: Size | None = Field(
        None, description="memory above which a worker is replaced after its run; plugin.yaml, too"
    )
    memory_hard: Size | None = Field(
        None, description="memory above which a run is killed; plugin.yaml may say other"
    )
    memory_mark: float = Field(
        0.9, gt=0, le=1, description="share of the container's memory above which no run is taken"
    )
    memory_stall: float = Field(
        10, ge=0, le=100, description="percent of time lost to memory above which none is; 0: any"
    )
    boot_timeout_s: Positive = Field(60, description="longest start of the zygote or of a worker")
    storage_dir: Path | None = Field(None, description="CrewAI's files; default: /dev/shm")
    preload: Words = Field(("crewai",), description="modules the zygote imports")
    watch_plugins: bool = Field(False, description="reload when a file of a plugin changes")
    worker_env: Words = Field(WORKER_ENV, description="variables a worker may see (patterns)")
    worker_user: str = Field(
        "", max_length=64, description="user that workers run as; needs a supervisor run by root"
    )
    worker_nofile: int = Field(
        4096, ge=64, le=1_048_576, description="files that a worker may have open"
    )
    worker_fsize_bytes: Size | None = Field(None, description="largest file a worker may write")
    worker_data_bytes: Size | None = Field(None, description="RLIMIT_DATA of a worker")

    @field_validator("storage_dir")
    @classmethod
    def _storage(cls, folder: Path | None) -> Path:
        if folder is not None:
            return folder.absolute()
        shm = Path("/dev/shm")  # noqa: S108  # tmpfs on purpose (trap C7); our folder in it is 0700
        return shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())

    @model_validator(mode="after")
    def _workers_agree(self) -> Self:
        if self.min_workers is not None and self.max_workers is None:
            raise ValueError("min_workers needs max_workers: there is nothing to follow")
        if self.max_workers is not None and self.max_workers < (self.min_workers or 1):
            raise ValueError("max_workers must be at least min_workers")
        if self.memory_soft and self.memory_hard and self.memory_soft > self.memory_hard:
            raise ValueError(
                f"memory_soft ({text_of(self.memory_soft)}) must be at most "
                f"memory_hard ({text_of(self.memory_hard)})"
            )
        return self
