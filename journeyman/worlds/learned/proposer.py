"""Which model a world asks, and how far it is trusted: data, for the world's file."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Proposer:
    """Which model is asked, and what it earned: by tool, of how many held-out calls it was right about how many.

    `url` and `key_env` say where, as in a dataset's graph: without a url, the provider that the model's name begins
    with, or this installation's gateway.
    """

    model: str
    url: str | None = None
    key_env: str | None = None
    trust: Mapping[str, float] = field(default_factory=dict)
    tried: Mapping[str, int] = field(default_factory=dict)
    right: Mapping[str, int] = field(default_factory=dict)

    @property
    def asked_of(self) -> str:
        """Whom it sends the calls of an episode to, and with which key: what somebody must have agreed to."""
        url = self.url or "its provider, or this installation's gateway"
        key = f", with the key in {self.key_env}" if self.key_env else ""
        return f"the model {self.model} at {url}{key}"
