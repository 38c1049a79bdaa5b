"""Where engines behind the OpenAI API differ: what makes them tell their tokens, and what they cannot give."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from journeyman.engines.base_model import check_base
from journeyman.engines.fit import check_fit
from journeyman.engines.models import TEMPLATE, stored_template
from journeyman.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of engine has to be asked.

    Of the fields that our own engine takes, those in `refuses` are refused for it; all others pass as they are.
    """

    health: str = "/healthz"
    tells_tokens: dict[str, Any] = field(default_factory=lambda: {"return_token_ids": True})
    """Fields of a request that make it report token ids and their raw log probabilities."""
    refuses: dict[str, str] = field(default_factory=dict)
    """Fields of a request that it cannot honour, and why."""
    checks_adapters: bool = True
    """Whether it refuses weights that do not fit, and asks each adapter under the chat template that it knows."""
    base: Path | None = None
    """Where its base model lies, for an engine that does neither; None when that is not known."""

    def check_request(self, fields: dict[str, Any]) -> None:
        """InvalidInput for a field that it cannot honour."""
        for name, reason in self.refuses.items():
            if fields.get(name) is not None:
                raise InvalidInput(f"{name}: {reason}; leave it out")

    def check_adapter(self, name: str, folder: Path) -> None:
        """InvalidInput for an adapter that does not fit, or would be asked in other words than it learned."""
        if self.checks_adapters:
            return
        if self.base is None:
            raise InvalidInput(
                f"adapter {name!r}: whether it fits the engine's base model cannot be seen from here; nothing was "
                "loaded. Pull the same base model on this machine, under the same name"
            )
        check_fit(name, folder, self.base)
        check_base(folder, self.base, f"adapter {name}")
        # What it needs is not part of the base installation, which talks to providers only.
        from journeyman.rendering.vocabulary import check_tokenizer

        check_tokenizer(folder, self.base)
        own = folder / TEMPLATE
        if own.is_file() and own.read_text(encoding="utf-8", errors="replace") != stored_template(self.base):
            raise InvalidInput(
                f"adapter {name!r} learned under another chat template than its base model's, and this engine has only "
                "that one; nothing was loaded. Serve it with the local engine: `journeyman up --engine local`"
            )


LOCAL = Dialect()
SERVING_ONLY = Dialect(
    tells_tokens={},
    refuses={"return_token_ids": "weights of 8 bits are for serving, not for training"},
)
"""The local engine with weights of 8 bits: what it samples is not to be learned from as its own."""


def vllm_dialect(base: Path | None) -> Dialect:
    """vLLM's, over the base model in the folder `base` (None: not known)."""
    return Dialect(
        health="/health",
        tells_tokens={"return_token_ids": True, "logprobs": True},
        refuses={"timeout": "vLLM keeps no deadline for a request"},
        checks_adapters=False,
        base=base,
    )
