"""vLLM over a tiny model, where JOURNEYMAN_VLLM_PYTHON names an interpreter that has it."""

import os
from pathlib import Path

import pytest

from journeyman.config import Settings
from journeyman.engines.process import EngineProcess
from journeyman.engines.vllm import check_vllm, vllm_process

WIDE = {"hidden_size": 128, "intermediate_size": 128, "head_dim": 32, "max_position_embeddings": 2048}
"""A shape whose heads are as wide as vLLM needs."""
_VLLM = os.environ.get("JOURNEYMAN_VLLM_PYTHON", "")


def require_vllm() -> None:
    """Skip the test, and say so, where no interpreter was named."""
    if not _VLLM:
        pytest.skip("NOT TESTED: vLLM. Name an interpreter that has it in JOURNEYMAN_VLLM_PYTHON")
    check_vllm(Settings(vllm_python=Path(_VLLM)))


def vllm_over(model: Path, name: str, home: Path) -> EngineProcess:
    """The process of a vLLM that computes as our trainer does, in float32, and takes little memory."""
    settings = Settings(
        home=home,
        vllm_python=Path(_VLLM),
        vllm_arguments=["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        return vllm_process(model, name, settings)
