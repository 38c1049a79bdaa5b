"""Amounts as people write them: cents to euros, and the euros that a text mentions."""

import re

_NUMBER = r"\d{1,3}(?:[,.]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,2})?"
_MONEY = re.compile(
    rf"(?P<before>€|eur(?:os?)?)?\s?(?<![\w.,-])(?P<number>{_NUMBER})(?![\w-]|[.,]\d)\s?(?P<after>€|eur(?:os?)?\b|cents?\b)?",
    re.IGNORECASE,
)


def euros(cents: int) -> str:
    """Cents as euros with two decimals: 2490 becomes "24.90"."""
    return f"{cents // 100}.{cents % 100:02d}"


def amounts(text: str) -> list[int]:
    """The amounts of money in a text, in cents: "€1,204.50", "1204.5" and "50 euros", but not "2 accounts"."""
    found = []
    for match in _MONEY.finditer(text):
        number, after = match["number"], (match["after"] or "").lower()
        if after.startswith("cent"):
            continue
        decimals = re.search(r"[.,](\d{1,2})$", number)
        if match["before"] or after or decimals:
            whole = re.sub(r"\D", "", number[: decimals.start()] if decimals else number)
            found.append(int(whole) * 100 + (int(decimals[1].ljust(2, "0")) if decimals else 0))
    return found
