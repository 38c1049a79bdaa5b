"""What a number was measured on: the processor, its memory and the versions of what did the work.

No host name, user name or path is recorded: reports are meant to be published.
"""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("journeyman", "torch", "transformers", "peft", "tokenizers", "pydantic", "aiohttp", "uvicorn", "openai")


def describe_machine() -> dict[str, Any]:
    """The machine's facts, ready to be stored with a run or a report; memory is in GiB."""
    return {
        "cpu": _processor(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip() not in ("", "unknown"):
                return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
