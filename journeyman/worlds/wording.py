"""How a system says that a call is not allowed: a template learned from what it was heard to say, or else our words."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeyman.worlds.transitions import Transition


@dataclass(frozen=True)
class Wording:
    """An answer as JSON text, with slots such as `⟨argument⟩`; `right` of `heard` refusals were said exactly so."""

    template: str
    right: int = 0
    heard: int = 0

    def filled(self, slots: Mapping[str, str]) -> Any:
        """The answer, as JSON."""
        return json.loads(re.sub("⟨([a-z]+)⟩", lambda found: _inside(slots.get(found[1], found[0])), self.template))


def heard(refusals: Sequence[tuple[Any, Mapping[str, str]]]) -> Wording | None:
    """The template that says the most of these answers again, each with what its slots hold; None without answers."""
    texts = [json.dumps(answer, ensure_ascii=False) for answer, _ in refusals]
    templates = Counter(
        template
        for text, (_, slots) in zip(texts, refusals, strict=True)
        for template in dict.fromkeys(_readings(text, slots))
    )
    tried = [
        Wording(template, sum(_says(template, slots) == answer for answer, slots in refusals), len(refusals))
        for template in templates
    ]
    return max(tried, key=lambda each: each.right, default=None)


def in_own_words(template: str, calls: Sequence[Transition]) -> Wording:
    """Ours, in the form that most errors of the system have: a text that begins so, or an object with `error`."""
    errors = [each.observation for each in calls if each.error is not None]
    plain = sum(isinstance(each, str) for each in errors)
    said = f"Error: {template}" if 2 * plain > len(errors) else {"error": template}
    return Wording(json.dumps(said, ensure_ascii=False))


def _readings(text: str, slots: Mapping[str, str]) -> Iterator[str]:
    """Templates of one answer. What two slots hold alike is either's: the first one's, or the last one's."""
    for names in ([*slots], [*slots][::-1]):
        found = text
        for name in names:
            if slots[name]:
                pattern = rf"(?<![\w⟨]){re.escape(_inside(slots[name]))}(?![\w⟩])"
                found = re.sub(pattern, _slot(name), found)
        yield found


def _says(template: str, slots: Mapping[str, str]) -> Any:
    return Wording(template).filled(slots)


def _slot(name: str) -> str:
    return f"⟨{name}⟩"


def _inside(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]
