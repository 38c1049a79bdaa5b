"""Rows of results that several parts make."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from serving_parts.rows import ServingRow as GatewayRow
from serving_parts.rows import figure, rounds_of

from gateway_parts.sides import Ours

__all__ = ["GatewayRow", "figure", "lost_row", "median_row"]


def median_row(
    what: str,
    values: Sequence[float],
    unit: str,
    *,
    note: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    spent: Sequence[dict[str, Any]] = (),
) -> GatewayRow:
    """The median of the rounds, all of them in its note."""
    told = "; ".join(filter(None, [note, rounds_of(values)]))
    value = float(f"{median(values):.4g}")
    return figure(what, value, unit, note=told, at_least=at_least, at_most=at_most, spent=spent)


def lost_row(what: str, gateways: Sequence[tuple[int, int]]) -> GatewayRow:
    """Calls that were sent and not stored; `gateways` are what each was sent, and what of it is missing."""
    sent, lost = (sum(each) for each in zip(*gateways, strict=True))
    return figure(f"{what}: calls that are not in the store", lost, "calls", note=f"of {sent} sent", at_most=0)


def count_lost(gateway: Ours) -> tuple[int, int]:
    """What a gateway was sent, and what of it is missing in the store once everything is there."""
    return gateway.sent, gateway.lost()
