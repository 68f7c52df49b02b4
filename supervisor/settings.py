"""The settings and their checks; configuration.py reads them.

Three names are fixed by the wire contract (REDIS_URL, PLUGIN_DIR, CREW_TIMEOUT_SECONDS),
all others are CREWPOOL_<FIELD>.
"""

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationInfo,
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

from supervisor.addresses import (
    DATABASES,
    FORMS,
    has_known_scheme,
    is_database,
    is_encrypted,
    with_files,
)
from supervisor.messaging import Messaging, filled_in
from supervisor.worker_settings import Positive, WorkerSettings
from worker.policies import Cause, Retries, Retry, refuse_final

CONFIG_FILE = "crewpool.toml"
FIXED_NAMES = {
    "redis_url": "REDIS_URL",
    "plugin_dir": "PLUGIN_DIR",
    "crew_timeout_s": "CREW_TIMEOUT_SECONDS",
}
# The ends that another start may mend, where neither plugin nor settings say other.
RETRIED = ("crash", "oom", "lost", "rate_limited")
# A lost run did nothing wrong and has waited for a lease already; a model that says 429
# wants us to wait.
BACKOFF_S = {"lost": 0.0, "rate_limited": 5.0}


class Settings(WorkerSettings, BaseSettings):
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
        description="redis://, rediss://, unix://, redis+sentinel://, redis+cluster://",
    )
    redis_ca_file: Path | None = Field(None, description="who signed the certificate of rediss://")
    redis_cert_file: Path | None = Field(None, description="our own certificate for rediss://")
    redis_key_file: Path | None = Field(None, description="the key of redis_cert_file")
    messaging: Annotated[Messaging | None, NoDecode] = Field(
        None, description="block of crewpool.toml: the application's words for Redis"
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
    http_host: str = Field("127.0.0.1", description="where probes and metrics are served")
    http_port: int = Field(8000, ge=0, le=65535, description="0 takes a free port")
    drain_s: float = Field(300, ge=0, description="how long TERM lets crews finish")
    lease_s: Positive = Field(15, description="idle time after which others reclaim a run")
    renew_every_s: Positive = Field(5, description="how often leases are renewed")
    sweep_every_s: Positive = Field(2, description="how often lapsed leases are looked for")
    max_attempts: int = Field(
        3, ge=1, le=100, description="starts of a run that crash, oom, lost or rate_limited ended"
    )
    retry: Retries = Field({}, description="other attempts and backoff by cause, as in plugin.yaml")
    ageing_s: float = Field(
        300, ge=0, allow_inf_nan=False, description="wait that is worth one priority; 0: none is"
    )
    quarantine_crashes: int = Field(
        5, ge=0, le=1000, description="crashes that pause a plugin; 0: none do"
    )
    quarantine_window_s: Positive = Field(300, description="in which the crashes are counted")
    quarantine_cooldown_s: Positive = Field(60, description="after which one run is let through")
    max_waiting: int = Field(
        100_000, ge=1, description="runs of one priority that may wait; more are refused"
    )
    retention_s: float = Field(
        3600, ge=0, allow_inf_nan=False, description="how long entries are kept after their end"
    )
    dead_letters_max: int = Field(10_000, ge=1, description="dead letters that are kept")
    dead_letters_ttl_s: Positive = Field(2_592_000, description="how long dead letters are kept")
    max_payload_bytes: int = Field(1_048_576, ge=1024, le=4_194_304, description="largest request")
    max_output_bytes: int = Field(
        4_194_304, ge=1024, le=6_291_456, description="largest output of a crew"
    )
    names: Literal["plugin", "cortex"] = Field(
        "plugin", description="profile that the names of streams are taken from"
    )
    requests_stream: str = "plugin:requests"
    results_stream: str = "plugin:results"
    dead_letters_stream: str = "plugin:requests:dlq"
    requests_group: str = "crewai-workers"
    results_group: str = "go-workers"
    record_ttl_s: int = Field(86_400, ge=60, description="how long run records are kept")
    done_ttl_s: int = Field(604_800, ge=60, description="how long a second result is refused")
    records_url: SecretStr = Field(
        SecretStr(""), description="sqlite:///file or postgresql://…; without: no run records"
    )
    records_http_port: int = Field(
        8001, ge=0, le=65535, description="probes and metrics of crewpool results consume"
    )
    outbox_key_file: Path | None = Field(
        None, description="seals credentials that wait in the outbox; default: beside the file"
    )
    gateway_host: str = Field("127.0.0.1", description="where crewpool gateway listens")
    gateway_port: int = Field(8080, ge=0, le=65535, description="0 takes a free port")
    gateway_http_port: int = Field(
        8002, ge=0, le=65535, description="probes and metrics of crewpool gateway"
    )
    gateway_token_file: Path | None = Field(
        None, description="who may use the gateway: one token a line; default: this machine only"
    )
    messages_stream: str = Field(
        "", description="how the control streams begin; default: crewpool:messages"
    )
    heartbeats_key: str = Field("", description="set of all supervisors; default: crewpool:hosts")
    heartbeat_every_s: Positive = Field(5, description="how often a supervisor says it is alive")
    host_name: str = Field(
        "", description="name of this host in consumer names; default: its hostname"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: dict[str, Any]) -> dict[str, Any]:
        return filled_in(given)

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, url: SecretStr) -> SecretStr:
        if not has_known_scheme(url.get_secret_value()):
            # The value is not quoted: it may hold a password.
            raise ValueError(f"must begin with {FORMS}")
        return url

    @field_validator(
        "requests_stream",
        "results_stream",
        "dead_letters_stream",
        "requests_group",
        "results_group",
        "messages_stream",
        "heartbeats_key",
    )
    @classmethod
    def _name(cls, name: str, info: ValidationInfo) -> str:
        has_default = info.field_name in ("messages_stream", "heartbeats_key")
        if not (has_default and not name) and not re.fullmatch(r"[A-Za-z0-9:_.{}\-]{1,128}", name):
            raise ValueError("must be 1 to 128 letters, digits or any of : _ . { } -")
        if not re.fullmatch(r"[^{}]*(\{[^{}]+\}[^{}]*)?", name):
            # Which part of {{a}b} Redis takes for the hash tag nobody should have to know.
            raise ValueError("may have one pair of braces, with the hash tag for a cluster in it")
        return name

    @field_validator("records_url")
    @classmethod
    def _database(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not is_database(url.get_secret_value()):
            raise ValueError(f"must begin with {DATABASES}")
        return url

    @field_validator("host_name")
    @classmethod
    def _host(cls, name: str) -> str:
        return re.sub(r"[^A-Za-z0-9_.-]", "-", name or socket.gethostname())[:64]

    def retry_of(self, cause: Cause) -> Retry:
        """Return how often a run is started that this cause ended, where no plugin says other."""
        ours = Retry(
            attempts=self.max_attempts if cause in RETRIED else 1,
            backoff_s=BACKOFF_S.get(cause, 1.0),
        )
        return self.retry[cause].over(ours) if cause in self.retry else ours

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        refuse_final(self.retry)
        if self.renew_every_s * 2 > self.lease_s:
            raise ValueError(
                "renew_every_s must be at most half of lease_s, or one lost renewal loses the lease"
            )
        base = self.requests_stream.removesuffix(":normal")
        requests = [self.requests_stream, *(f"{base}:{end}" for end in ("critical", "high", "low"))]
        if len({*requests, self.results_stream, self.dead_letters_stream}) < 6:
            raise ValueError(
                "requests_stream (with :critical, :high, :low), results_stream and "
                "dead_letters_stream must differ"
            )
        return self

    @model_validator(mode="after")
    def _files_fit(self) -> "Settings":
        files = (self.redis_ca_file, self.redis_cert_file, self.redis_key_file)
        if any(files) and not is_encrypted(self.redis_url.get_secret_value()):
            raise ValueError(
                "redis_ca_file, redis_cert_file and redis_key_file are for rediss://, and "
                "REDIS_URL asks for a connection without TLS"
            )
        if self.redis_key_file and not self.redis_cert_file:
            raise ValueError("redis_key_file needs redis_cert_file")
        return self

    @property
    def redis_address(self) -> str:
        """The URL that clients connect to: redis_url, with the files for TLS in it."""
        files = {
            "ssl_ca_certs": self.redis_ca_file,
            "ssl_certfile": self.redis_cert_file,
            "ssl_keyfile": self.redis_key_file,
        }
        return with_files(self.redis_url.get_secret_value(), files)

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
