"""In which numbers a model computes."""

from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16", "int8"]


def choose_dtype(precision: Precision) -> torch.dtype:
    """bfloat16 where the CPU computes it natively (or was asked for), else float32. int8 weights work on bfloat16."""
    if precision == "auto":
        native = torch.cuda.is_available() or "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
        return torch.bfloat16 if native else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16


def _cpu_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.is_file() else ""
