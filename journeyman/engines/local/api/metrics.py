"""The engine's counters as Prometheus reads them. No label names a tenant: their number has no bound."""

from collections.abc import Iterator

from journeyman.engines.local.counters import SECONDS, Counters

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "journeyman_engine_"
_GAUGES = {
    "waiting": ("requests_waiting", "Requests in the queue."),
    "running": ("requests_running", "Requests being computed."),
    "batch": ("batch_size", "Rows of the newest step."),
    "pages_used": ("cache_pages_used", "Pages of the key-value cache in use."),
    "pages": ("cache_pages", "Pages of the key-value cache."),
    "adapters_registered": ("adapters_registered", "Adapters that may be named."),
    "adapters_resident": ("adapters_in_memory", "Adapters whose weights are in memory."),
    "adapter_bytes": ("adapter_bytes", "Memory that adapters take."),
}
_COUNTERS = {
    "steps": ("steps_total", "Forward passes."),
    "busy_seconds": ("busy_seconds_total", "Time spent in forward passes."),
    "generated": ("generated_tokens_total", "Tokens written; its rate is tokens per second."),
    "computed_prompt": ("prompt_tokens_computed_total", "Prompt tokens computed."),
    "cached_prompt": ("prompt_tokens_cached_total", "Prompt tokens taken from the cache."),
    "adapter_loads": ("adapter_loads_total", "Adapters read from disk."),
    "adapter_evictions": ("adapter_evictions_total", "Adapters dropped from memory to make room."),
    "rejected": ("requests_rejected_total", "Requests refused because the queue was full."),
    "expired": ("requests_expired_total", "Requests whose deadline passed."),
    "failed_steps": ("failed_steps_total", "Forward passes that raised an error."),
}
ENDINGS = ("stop", "length", "cancelled", "failed")
"""How a choice can end; each is listed from the start, so that a rate has a zero to rise from."""


def exposition(counters: Counters) -> str:
    """The counters in Prometheus' text format."""
    return "\n".join([*_lines(counters), ""])


def _lines(counters: Counters) -> Iterator[str]:
    gauges = counters.gauges
    for field, (name, purpose) in _GAUGES.items():
        yield from _described(name, "gauge", purpose)
        yield f"{_PREFIX}{name} {getattr(gauges, field):g}"
    for field, (name, purpose) in _COUNTERS.items():
        yield from _described(name, "counter", purpose)
        yield f"{_PREFIX}{name} {_exact(getattr(gauges, field))}"
    yield from _described("choices_ended_total", "counter", "Replies that ended, by how.")
    ended = dict(counters.ended)
    for how in sorted({*ENDINGS, *ended}):
        yield f'{_PREFIX}choices_ended_total{{reason="{how}"}} {ended.get(how, 0)}'
    yield from _histogram(counters)


def _histogram(counters: Counters) -> Iterator[str]:
    name = "time_to_first_token_seconds"
    yield from _described(name, "histogram", "From a request's arrival to its first token.")
    total = 0
    for bound, count in zip((*map(str, SECONDS), "+Inf"), list(counters.first_token), strict=True):
        total += count
        yield f'{_PREFIX}{name}_bucket{{le="{bound}"}} {total}'
    yield f"{_PREFIX}{name}_sum {_exact(counters.first_token_seconds)}"
    yield f"{_PREFIX}{name}_count {total}"


def _described(name: str, kind: str, purpose: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {purpose}"
    yield f"# TYPE {_PREFIX}{name} {kind}"


def _exact(number: float) -> str:
    return str(number) if isinstance(number, int) else repr(number)
