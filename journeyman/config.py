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
    """An OpenAI-compatible service. The key never appears in a log, a record or an error."""

    base_url: str
    api_key: SecretStr | None = None


Rate = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=6, allow_inf_nan=False)]


class PriceRule(BaseModel):
    """US dollars for a million tokens: of prompt, of prompt that was in the cache (as `input`, if absent), of reply."""

    model_config = ConfigDict(extra="forbid")

    input: Rate
    cached: Rate | None = None
    output: Rate


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

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the store."""
        return f"sqlite:///{self.home / 'journeyman.db'}"

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
