"""Settings of this installation: where things are kept, which providers may be called.

Read, in this order, from `JOURNEYMAN_…` environment variables and from `journeyman.toml` in the home folder.
"""

import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


def default_home() -> Path:
    """`$JOURNEYMAN_HOME`, else `~/.journeyman`."""
    return Path(os.environ.get("JOURNEYMAN_HOME", "~/.journeyman")).expanduser()


def default_models() -> Path:
    """`$JOURNEYMAN_MODELS`, else the user's cache folder: converted models are large and can be made again."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(os.environ.get("JOURNEYMAN_MODELS", cache / "journeyman" / "models")).expanduser()


class Provider(BaseModel):
    """A service that answers for models of its own. The key never appears in a log, a record or an error."""

    base_url: str
    api_key: SecretStr | None = None
    api: Literal["openai", "anthropic"] = "openai"
    """Whose way of telling the key: `Authorization: Bearer`, or Anthropic's `x-api-key`."""
    stream_usage: bool = True
    """Whether to ask for the usage of a stream that did not ask for it itself; the client never sees that event."""
    headers: dict[str, str] = {}
    """Sent with every call, in place of the client's header of that name."""


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RouteRule(BaseModel):
    """Who answers for a model's name, in order, and how long and how often each is tried.

    A try is repeated, and the next target asked, only while the client has been sent nothing, and when the upstream
    cannot be reached, breaks off, is silent, or answers 408, 429 or 5xx.
    """

    model_config = ConfigDict(extra="forbid")

    targets: list[str] = []
    """Names as clients ask for them: aliases, adapters, the base model, `provider/model`. None: the name itself."""
    timeout: Seconds | None = None
    """Seconds without a byte after which a try has failed; `upstream_timeout` where it is not given."""
    first_byte_timeout: Seconds | None = None
    """Seconds until the answer's first byte."""
    retries: int = Field(2, ge=0, le=10)
    """Further tries of each target."""
    backoff: Seconds = 0.25
    """Seconds before the first further try; they double with each, and are cut at random by up to a half."""


class CaptureSettings(BaseModel):
    """How much of the disk raw calls may take on their way into the store, and for how long they stay."""

    model_config = ConfigDict(extra="forbid")

    spool_bytes: int = Field(2 << 30, ge=1 << 20)
    """What may wait for the store; beyond, calls are answered, but dropped from the record, and counted."""
    segment_bytes: int = Field(64 << 20, ge=1 << 16)
    """Size of a segment, after which the next one is begun."""
    keep_raw_days: float = Field(7.0, ge=0)
    """Days for which the raw bytes of stored calls are kept, compressed, to be parsed or redacted again; 0: none."""


class RedactionSettings(BaseModel):
    """What is taken out of exchanges before they are stored, and so of every dataset."""

    model_config = ConfigDict(extra="forbid")

    rules: list[Literal["secret", "email", "iban", "card", "phone", "ip"]] = []
    """Built-in rules."""
    patterns: dict[str, str] = {}
    """Further ones: regular expressions by name."""
    reversible: bool = False
    """Whether the value stays in its replacement, encrypted, so that who has the key can read it."""
    identifiers: bool = False
    """Whether `person`, `session` and `external_id` are redacted too; erasure then needs the redacted name."""
    key: SecretStr | None = None
    """From which replacements are made; else `key_file`, else `redaction.key` in the home folder, made when absent."""
    key_file: Path | None = None


Rate = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=6, allow_inf_nan=False)]


class PriceRule(BaseModel):
    """US dollars for a million tokens: of prompt, of prompt that was in the cache (as `input`, if absent), of reply."""

    model_config = ConfigDict(extra="forbid")

    input: Rate
    cached: Rate | None = None
    output: Rate


class RetentionRule(BaseModel):
    """Calls that match a filter (all calls, where it is empty) are removed when they are `keep_days` old."""

    model_config = ConfigDict(extra="forbid")

    where: str = ""
    keep_days: float = Field(gt=0)


class Settings(BaseSettings):
    """Everything about this installation that is not about one run."""

    model_config = SettingsConfigDict(env_prefix="JOURNEYMAN_", env_nested_delimiter="__", extra="ignore")

    home: Path = Field(default_factory=default_home)
    models: Path = Field(default_factory=default_models)
    host: str = "127.0.0.1"
    port: int = 8600
    providers: dict[str, Provider] = {}
    prices: dict[str, PriceRule] = {}
    """By the name of a base model, of an adapter, or `provider/model`; they come before the built-in table."""
    threads: int | None = None
    """Threads of the engine and of training; by default PyTorch's own choice."""
    engine: str = "local"
    """What answers for the base model: `local`, `vllm`, or the URL of an engine that runs already."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Numbers that the local engine computes in; auto takes bfloat16 where the processor has it."""
    local_arguments: list[str] = []
    """Further arguments of the local engine."""
    vllm_python: Path | None = None
    """The Python interpreter that has vLLM; by default ours."""
    vllm_adapters: int = Field(8, ge=1)
    """Different adapters that vLLM computes at once; further ones wait for a place."""
    vllm_rank: int = 16
    """Largest rank of an adapter that vLLM takes; a larger one slows all of them."""
    vllm_arguments: list[str] = []
    """Further arguments of vLLM's server."""
    upstream_timeout: float = 600.0
    """Seconds without a byte from an upstream after which a call counts as failed."""
    max_body_bytes: int = Field(64 << 20, ge=1024)
    """Largest request; a larger one is answered with 413."""
    routes: dict[str, RouteRule] = {}
    """By the model's name that clients ask for."""
    capture: CaptureSettings = CaptureSettings()
    redaction: RedactionSettings = RedactionSettings()
    retention: list[RetentionRule] = []
    """What is removed by its age; nothing without a rule."""
    database_url: SecretStr | None = None
    """The store, where it is not `journeyman.db` in the home folder: `postgresql://…`."""

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the store."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home / 'journeyman.db'}"

    @property
    def spool(self) -> Path:
        """The folder of the raw calls that are not in the store yet."""
        return self.home / "spool"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        file = TomlConfigSettingsSource(settings_cls, toml_file=default_home() / "journeyman.toml")
        return init_settings, env_settings, file
