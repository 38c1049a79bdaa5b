"""vLLM as the engine: started in an environment of its own, behind the same interface as ours.

vLLM brings a PyTorch and a transformers of its own, so it is another Python interpreter that runs it.
"""

import os
import subprocess
import sys
from pathlib import Path

from journeyman.config import Settings
from journeyman.engines.dialect import vllm_dialect
from journeyman.engines.models import stored_template
from journeyman.engines.process import EngineProcess, log_of, refuse_ours
from journeyman.errors import InvalidInput
from journeyman.rendering.tool_calls import OPENING, style_of

START_SECONDS = 900.0
"""vLLM imports for up to a minute in each of three processes, and a GPU's kernels are compiled on its first start."""
STOP_SECONDS = 15.0
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_GRACE_SECONDS = 10
_DRAIN_SECONDS = 5
_PLUGIN = Path(__file__).with_name("vllm_tools.py")
_PARSERS = {"signature": "journeyman", "tagged": "hermes", "xml": "qwen3_coder", "bare": "llama3_json"}
_COMPACT = '{"backend": "guidance", "disable_any_whitespace": true}'
"""A small model that may write any space between the parts of its JSON can do so until its tokens are used up."""
_ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # On a processor it keeps one core for itself otherwise, and computes on the only other one of a small machine.
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    # The model lies in a folder: what is missing there is an error, and nothing to look for elsewhere.
    "HF_HUB_OFFLINE": "1",
}


def vllm_process(model: Path, name: str, settings: Settings) -> EngineProcess:
    """The process of a vLLM over the weights in the folder `model`, called `name` by its clients; not started yet."""
    leash = [sys.executable, "-m", "journeyman.engines.leash", "--health", "/health"]
    command = [*leash, "--grace", str(_GRACE_SECONDS), "--", *_server(model, name, settings)]
    environment = {**_ENVIRONMENT, **os.environ}
    if settings.threads is not None:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{settings.threads - 1}"
    return EngineProcess(
        name,
        command,
        log_of(settings.home, name),
        dialect=vllm_dialect(model),
        environment=environment,
        start_timeout=START_SECONDS,
        stop_timeout=STOP_SECONDS,
    )


def check_vllm(settings: Settings) -> None:
    """InvalidInput when there is no vLLM where it is to be run."""
    python = _python(settings)
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"
    try:
        found = subprocess.run([python, "-c", look]).returncode == 0
    except OSError as error:
        raise InvalidInput(f"vllm_python: {python} cannot be run ({error.strerror}); nothing was started") from error
    if not found:
        raise InvalidInput(
            f"there is no vLLM for {python}; nothing was started. Install it into an environment of its own, as "
            "docs/guides/engines.md says, and name that environment's interpreter in JOURNEYMAN_VLLM_PYTHON"
        )


def _server(model: Path, name: str, settings: Settings) -> list[str]:
    if settings.vllm_rank not in RANKS:
        raise InvalidInput(f"vllm_rank: vLLM takes {', '.join(map(str, RANKS))}, not {settings.vllm_rank}")
    own = {
        "--model": str(model),
        "--served-model-name": name,
        "--host": "127.0.0.1",
        "--port": "{port}",
        "--load-format": "safetensors",
        "--max-loras": str(settings.vllm_adapters),
        "--max-lora-rank": str(settings.vllm_rank),
        # The model's own defaults of temperature and so on would answer requests that leave them out.
        "--generation-config": "vllm",
        "--logprobs-mode": "raw_logprobs",
        "--scheduling-policy": "priority",
        "--shutdown-timeout": str(_DRAIN_SECONDS),
    }
    switches = ["--enable-lora", "--enable-prompt-tokens-details"]
    refuse_ours("vllm_arguments", settings.vllm_arguments, dict.fromkeys([*own, *switches], ""))
    chosen = [] if _gives(settings, "--structured-outputs-config") else ["--structured-outputs-config", _COMPACT]
    chosen += [] if _gives(settings, "--tool-call-parser") else _tool_calls(stored_template(model))
    named = [part for pair in own.items() for part in pair]
    module = [_python(settings), "-m", "vllm.entrypoints.openai.api_server"]
    return [*module, *named, *switches, *chosen, *settings.vllm_arguments]


def _gives(settings: Settings, option: str) -> bool:
    return any(argument.partition("=")[0] == option for argument in settings.vllm_arguments)


def _tool_calls(template: str | None) -> list[str]:
    """How vLLM is to read tool calls from replies; without a style that it knows it refuses requests with tools."""
    style = style_of(template or "").name
    if style == "tagged" and OPENING not in (template or ""):
        return []
    plugin = ["--tool-parser-plugin", str(_PLUGIN)] if style == "signature" else []
    return ["--enable-auto-tool-choice", *plugin, "--tool-call-parser", _PARSERS[style]]


def _python(settings: Settings) -> str:
    return str(settings.vllm_python.expanduser()) if settings.vllm_python else sys.executable
