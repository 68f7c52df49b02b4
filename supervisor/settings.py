"""The settings: environment over TOML file over defaults; all problems told at once.

`load()` is the edge where they are checked; what it returns is right. Read once at start.
Three names are fixed by the wire contract (REDIS_URL, PLUGIN_DIR, CREW_TIMEOUT_SECONDS),
all others are CREWPOOL_<FIELD>.
"""

import os
import re
import socket
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from supervisor.errors import SettingsWrong

CONFIG_FILE = "crewpool.toml"
FIXED_NAMES = {
    "redis_url": "REDIS_URL",
    "plugin_dir": "PLUGIN_DIR",
    "crew_timeout_s": "CREW_TIMEOUT_SECONDS",
}
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


class Settings(BaseSettings):
    """All settings of a supervisor. Lengths in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix="CREWPOOL_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices("redis_url", "REDIS_URL"),
        description="redis://, rediss:// or unix://",
    )
    plugin_dir: Path = Field(
        Path("plugins"),
        validation_alias=AliasChoices("plugin_dir", "PLUGIN_DIR"),
        description="folder of the plugins",
    )
    crew_timeout_s: Positive = Field(
        300,
        validation_alias=AliasChoices("crew_timeout_s", "CREW_TIMEOUT_SECONDS"),
        description="longest run of a crew; plugin.yaml may say other",
    )
    workers: int = Field(2, ge=1, le=512, description="crews at a time")
    http_host: str = Field("127.0.0.1", description="where probes and metrics are served")
    http_port: int = Field(8000, ge=0, le=65535, description="0 takes a free port")
    drain_s: float = Field(300, ge=0, description="how long TERM lets crews finish")
    lease_s: Positive = Field(15, description="idle time after which others reclaim a run")
    renew_every_s: Positive = Field(5, description="how often leases are renewed")
    sweep_every_s: Positive = Field(2, description="how often lapsed leases are looked for")
    boot_timeout_s: Positive = Field(60, description="longest start of the zygote or of a worker")
    max_attempts: int = Field(
        3, ge=1, le=100, description="starts of a run whose worker or host died"
    )
    max_payload_bytes: int = Field(1_048_576, ge=1024, le=4_194_304, description="largest request")
    max_output_bytes: int = Field(
        4_194_304, ge=1024, le=6_291_456, description="largest output of a crew"
    )
    requests_stream: str = "plugin:requests"
    results_stream: str = "plugin:results"
    dead_letters_stream: str = "plugin:requests:dlq"
    requests_group: str = "crewai-workers"
    results_group: str = "go-workers"
    record_ttl_s: int = Field(86_400, ge=60, description="how long run records are kept")
    done_ttl_s: int = Field(604_800, ge=60, description="how long a second result is refused")
    host_name: str = Field(
        "", description="name of this host in consumer names; default: its hostname"
    )
    storage_dir: Path | None = Field(None, description="CrewAI's files; default: /dev/shm")
    preload: Words = Field(("crewai",), description="modules the zygote imports")
    worker_env: Words = Field(WORKER_ENV, description="variables a worker may see (patterns)")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: SecretStr) -> SecretStr:
        if not re.match(r"(rediss?|unix)://.", url.get_secret_value()):
            # The value is not quoted: it may hold a password.
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @field_validator(
        "requests_stream",
        "results_stream",
        "dead_letters_stream",
        "requests_group",
        "results_group",
    )
    @classmethod
    def _name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9:_.{}\-]{1,128}", name):
            raise ValueError("must be 1 to 128 letters, digits or any of : _ . { } -")
        return name

    @field_validator("host_name")
    @classmethod
    def _host(cls, name: str) -> str:
        return re.sub(r"[^A-Za-z0-9_.-]", "-", name or socket.gethostname())[:64]

    @field_validator("storage_dir")
    @classmethod
    def _storage(cls, folder: Path | None) -> Path:
        if folder is not None:
            return folder.absolute()
        shm = Path("/dev/shm")  # noqa: S108  # tmpfs on purpose (trap C7); our folder in it is 0700
        return shm if os.access(shm, os.W_OK) else Path(tempfile.gettempdir())

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if self.renew_every_s * 2 > self.lease_s:
            raise ValueError(
                "renew_every_s must be at most half of lease_s, or one lost renewal loses the lease"
            )
        requests = [f"{self.requests_stream}{end}" for end in ("", ":critical", ":high", ":low")]
        if len({*requests, self.results_stream, self.dead_letters_stream}) < 6:
            raise ValueError(
                "requests_stream (with :critical, :high, :low), results_stream and "
                "dead_letters_stream must differ"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file over defaults; no .env, which is the application's."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls, cls.file())
        return init_settings, env_settings, file

    @staticmethod
    def file() -> Path:
        """Return the TOML file that is read: $CREWPOOL_CONFIG or ./crewpool.toml."""
        return Path(os.environ.get("CREWPOOL_CONFIG", CONFIG_FILE))


@dataclass(frozen=True)
class Origin:
    """Where a value came from, for `crewpool config show`. Secrets are hidden in `value`."""

    name: str
    variable: str
    value: str
    origin: str


def variable_of(field: str) -> str:
    """Return the environment variable that sets a field."""
    return FIXED_NAMES.get(field, f"CREWPOOL_{field.upper()}")


def load(**overrides: Any) -> Settings:
    """Read and check all settings. Raises SettingsWrong with every problem at once."""
    _read_file()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsWrong([_problem(e) for e in error.errors(include_input=False)]) from None


def origins(settings: Settings) -> list[Origin]:
    """Return each value with its origin: environment, file or default."""
    in_file = {key.lower() for key in _read_file()}
    set_in_env = {key.upper() for key, value in os.environ.items() if value}
    rows = []
    for field in Settings.model_fields:
        variable = variable_of(field)
        origin = "default"
        if field in in_file or variable.lower() in in_file:
            origin = str(Settings.file())
        if variable in set_in_env:
            origin = "environment"
        rows.append(Origin(field, variable, _shown(getattr(settings, field)), origin))
    return rows


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return CREWPOOL_* variables that nothing reads: mostly misspelt ones.

    Kubernetes sets CREWPOOL_SERVICE_… and CREWPOOL_PORT… for a Service of our name, so this
    is a hint and no error.
    """
    known = {variable_of(field) for field in Settings.model_fields}
    known |= {"CREWPOOL_CONFIG", "CREWPOOL_OFFLINE_MODEL_URL", "CREWPOOL_TREE"}
    injected = re.compile(r"CREWPOOL_(SERVICE|PORT)(_|$)")
    return sorted(
        name
        for name in environ
        if name.startswith("CREWPOOL_") and name not in known and not injected.match(name)
    )


def without_password(url: str) -> str:
    """Return the URL as it may be shown: without the password, wherever it stands in it."""
    hidden = re.sub(r"(://).*@", r"\1***@", url)
    return re.sub(r"((?:^|[?&])password=)[^&]*", r"\1***", hidden)


def _read_file() -> dict[str, Any]:
    path = Settings.file()
    if "CREWPOOL_CONFIG" in os.environ and not path.is_file():
        raise SettingsWrong([f"CREWPOOL_CONFIG names {path}, which is no file"])
    try:
        return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsWrong([f"{path} cannot be read: {error}"]) from None


def _problem(error: Any) -> str:
    where = str(error["loc"][0]).lower() if error["loc"] else ""
    field = next((f for f, v in FIXED_NAMES.items() if where in (f, v.lower())), where)
    if error["type"] == "extra_forbidden":
        return f"{field} (in {Settings.file()}): no such setting"
    told = error["msg"].removeprefix("Value error, ")
    return f"{variable_of(field)}: {told}" if field else told


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return without_password(value.get_secret_value())
    return " ".join(value) if isinstance(value, tuple) else str(value)
