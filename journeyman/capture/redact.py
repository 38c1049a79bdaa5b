"""Takes personal data and secrets out of an exchange before it is stored, so that no dataset can ever hold them."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import orjson

from journeyman.capture.redact_names import PLACEHOLDER, Names, read_key
from journeyman.capture.redact_patterns import BUILT_IN, Look, Rule, Span
from journeyman.config import RedactionSettings
from journeyman.errors import InvalidInput
from journeyman.records import Feedback, Message, Tool, Trajectory, WireExchange
from journeyman.records.message import Role

Json = dict[str, Any]
_KEPT = {"role": frozenset(get_args(Role)), "type": frozenset(("function",))}
"""Words without which a message could not be read, whatever a pattern of one's own matches."""
_PLAIN_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_NAME = re.compile(r"[a-z_]{1,32}")
"""Names of fields, which are left alone."""
_NAME = re.compile(r"[a-z_]{1,32}")
"""Names of fields, which are left alone."""
_DATA_URL = re.compile(r"data:[\w.+-]{1,80}/[\w.+-]{1,80};base64,")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_MOST_ROUNDS = 8
_COUNTED = ("sampling", "attempts")
TAG = "redacted"
"""The tag that names the rules that replaced something in an exchange."""


class Redactor:
    """Applies rules to exchanges; `counts` says how many values each rule has replaced.

    `rules` are names of built-in ones, `patterns` regular expressions by name. These run without a time limit, as
    Python's `re` has none: one that goes back over long texts holds up the ingest, though never a call.
    """

    def __init__(
        self,
        rules: Iterable[str],
        *,
        key: bytes | None = None,
        patterns: Mapping[str, str] | None = None,
        reversible: bool = False,
        identifiers: bool = False,
    ) -> None:
        self._rules = [*_own(patterns or {}), *_chosen(rules)]
        self._names = Names(key, reversible=reversible)
        self._identifiers = identifiers
        self.counts: Counter[str] = Counter()

    def wire(self, exchange: WireExchange) -> WireExchange:
        """The exchange without what the rules find; the same object when they find nothing.

        Tokens go where anything was replaced, as they would still spell it, and the record becomes `lossy`.
        """
        parts: dict[str, Any] = {
            "messages": exchange.messages,
            "tools": exchange.tools,
            "choices": [choice["message"] for choice in exchange.choices],
            "error": exchange.error,
            "attempts": exchange.attempts,
            "sampling": exchange.sampling,
            "tags": {name: value for name, value in exchange.tags.items() if name != TAG},
        }
        if self._identifiers:
            parts |= {name: getattr(exchange, name) for name in ("person", "session", "external_id")}
        rules = self._suspected(parts)
        if not rules:
            return exchange
        pass_ = _Pass(rules, self._names)
        # Numbers of the sampling and of attempts are what they say, and a text in their place could not be read.
        cleaned = {name: pass_.value(part, numbers=name not in _COUNTED) for name, part in parts.items()}
        if not pass_.found:
            return exchange
        self.counts.update(pass_.found)
        cleaned["choices"] = [
            {**choice, "message": _without_tokens(message), "tokens": None}
            for choice, message in zip(exchange.choices, cleaned["choices"], strict=True)
        ]
        cleaned["tags"][TAG] = _with_rules(exchange.tags.get(TAG), pass_.found)
        return replace(exchange, **cleaned, fidelity="lossy")

    def text(self, text: str) -> str:
        """A text without what the rules find."""
        found = _Pass(self._suspected(text), self._names)
        cleaned: str = found.value(text)
        self.counts.update(found.found)
        return cleaned

    def trajectory(self, trajectory: Trajectory) -> Trajectory:
        """An attempt whose messages and tools hold nothing that the rules find, without tokens that would spell it."""
        parts = {
            "messages": [message.wire() for message in trajectory.messages],
            "tools": [tool.wire() for tool in trajectory.tools],
        }
        found = _Pass(self._suspected(parts), self._names)
        cleaned = found.value(parts)
        if not found.found:
            return trajectory
        self.counts.update(found.found)
        return trajectory.model_copy(update={
            "messages": tuple(map(Message.model_validate, cleaned["messages"])),
            "tools": tuple(map(Tool.model_validate, cleaned["tools"])), "tokens": (),
        })  # fmt: skip

    def feedback(self, feedback: Feedback) -> Feedback:
        """A judgement whose comment, label and correction hold nothing that the rules find."""
        correction = feedback.correction.wire() if feedback.correction else None
        parts = {"reason": feedback.reason, "label": feedback.label, "correction": correction}
        found = _Pass(self._suspected(parts), self._names)
        cleaned = found.value(parts)
        if not found.found:
            return feedback
        self.counts.update(found.found)
        if cleaned["correction"] is not None:
            cleaned["correction"] = Message.model_validate(cleaned["correction"])
        return feedback.model_copy(update=cleaned)

    def _suspected(self, value: Any) -> list[Rule]:
        """The rules that may find something, judged by a quick look at all the text at once."""
        try:
            data = orjson.dumps(value)
        except TypeError:
            return self._rules
        if b"\\\\u" in data:
            # JSON inside a text, with signs written as their numbers: only a closer look tells which.
            return self._rules
        look = Look.at(data)
        return [rule for rule in self._rules if rule.maybe(look)]


def redactor_of(settings: RedactionSettings, home: Path) -> Redactor | None:
    """The redactor that the settings describe; None when they ask for no rule."""
    if not settings.rules and not settings.patterns:
        return None
    return Redactor(
        settings.rules,
        key=_key_of(settings, home),
        patterns=settings.patterns,
        reversible=settings.reversible,
        identifiers=settings.identifiers,
    )


def strict_redactor(settings: RedactionSettings, home: Path) -> Redactor:
    """One that looks for everything, whatever is asked for at capture.

    Under this installation's key: the same value has the same name each time.
    """
    return Redactor(BUILT_IN, key=_key_of(settings, home), patterns=settings.patterns)


def _key_of(settings: RedactionSettings, home: Path) -> bytes:
    return read_key(settings.key.get_secret_value() if settings.key else None, settings.key_file, home)


class _Pass:
    """One walk over one value; `found` counts what was replaced, by rule."""

    def __init__(self, rules: list[Rule], names: Names) -> None:
        self._rules, self._names = rules, names
        self.found: Counter[str] = Counter()

    def value(self, value: Any, numbers: bool = True) -> Any:
        """Any JSON value, its texts and numbers cleaned; parts without a match are the same objects."""
        kind = type(value)
        if kind is str:
            return self._text(value)
        if kind is dict:
            return self._object(value, numbers)
        if kind is list or kind is tuple:
            cleaned = [self.value(each, numbers) for each in value]
            return value if all(new is old for new, old in zip(cleaned, value, strict=True)) else cleaned
        if kind is int and numbers and (value > 999_999 or value < -999_999):
            written = str(value)
            cleaned_number = self._plain(written)
            return value if cleaned_number == written else cleaned_number
        return value

    def _object(self, value: Json, numbers: bool) -> Json:
        cleaned = {
            name if _PLAIN_NAME.fullmatch(name) else self._plain(name): (
                inner if name in _KEPT and type(inner) is str and inner in _KEPT[name] else self.value(inner, numbers)
            )
            for name, inner in value.items()
        }
        same = len(cleaned) == len(value) and all(cleaned.get(name, _Pass) is value[name] for name in value)
        return value if same else cleaned

    def _text(self, text: str) -> str:
        if text[:1] in ("{", "[") and len(text) > 1:
            return self._json(text)
        if text.startswith("data:") and _DATA_URL.match(text):
            return text
        return self._plain(text)

    def _json(self, text: str) -> str:
        """A text that is JSON stays JSON: a match must not begin in the middle of an escape."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self._plain(text)
        cleaned = self.value(value)
        if cleaned is value:
            return text
        compact = (",", ":") if '": ' not in text else (", ", ": ")
        written = json.dumps(cleaned, ensure_ascii=False, separators=compact)
        # Halves of surrogate pairs, which JSON can write as numbers, are no text by themselves.
        is_text = not _SURROGATE.search(written)
        return written if is_text else json.dumps(cleaned, separators=compact)

    def _plain(self, text: str) -> str:
        """Until nothing more is found: what stood between two matches may be one by itself."""
        for _ in range(_MOST_ROUNDS):
            matches = self._matches(text)
            if not matches:
                break
            parts: list[str] = []
            position = 0
            for start, end, name in matches:
                parts += (text[position:start], self._names.replacement(name, text[start:end]))
                position = end
                self.found[name] += 1
            text = "".join((*parts, text[position:]))
        return text

    def _matches(self, text: str) -> list[tuple[int, int, str]]:
        """What is to be replaced, in order, none twice: matches that overlap are one, named by the first rule."""
        found = [
            (start, end, order)
            for order, rule in enumerate(self._rules)
            for start, end in rule.find(text)
            if end > start
        ]
        if not found:
            return []
        found.sort()
        merged = [found[0]]
        for start, end, order in found[1:]:
            last_start, last_end, last_order = merged[-1]
            if start < last_end:
                merged[-1] = (last_start, max(end, last_end), min(order, last_order))
            else:
                merged.append((start, end, order))
        spared = [match.span() for match in PLACEHOLDER.finditer(text)]
        return [(start, end, self._rules[order].name) for start, end, order in _apart(merged, spared)]


def _apart(found: list[tuple[int, int, int]], spared: list[Span]) -> list[tuple[int, int, int]]:
    """The found parts without those that are replacements already."""
    if not spared:
        return found
    kept = []
    next_spared = 0
    for start, end, order in found:
        while next_spared < len(spared) and spared[next_spared][1] <= start:
            next_spared += 1
        position = start
        for begin, stop in spared[next_spared:]:
            if begin >= end:
                break
            if begin > position:
                kept.append((position, begin, order))
            position = max(position, stop)
        if position < end:
            kept.append((position, end, order))
    return kept


def _without_tokens(message: Json) -> Json:
    return {name: value for name, value in message.items() if name != "logprobs"}


def _with_rules(told: str | None, found: Iterable[str]) -> str:
    return ",".join(sorted({*(told.split(",") if told else ()), *found}))


def _chosen(names: Iterable[str]) -> list[Rule]:
    wanted = set(names)
    if unknown := sorted(wanted - BUILT_IN.keys()):
        raise InvalidInput(
            f"no redaction rule is named {', '.join(unknown)}; there is: {', '.join(BUILT_IN)}. "
            "Patterns of your own go into redaction.patterns"
        )
    return [rule for name, rule in BUILT_IN.items() if name in wanted]


def _own(patterns: Mapping[str, str]) -> list[Rule]:
    rules = []
    for name, written in patterns.items():
        if not _NAME.fullmatch(name) or name in BUILT_IN:
            raise InvalidInput(
                f"redaction.patterns cannot be named {name!r}: a name is lower-case letters, digits, - and _, begins "
                f"with a letter, and is not one of the built-in ones ({', '.join(BUILT_IN)})"
            )
        try:
            pattern = re.compile(written)
        except re.error as error:
            raise InvalidInput(f"redaction.patterns.{name} is no regular expression: {error}") from error
        rules.append(Rule(name, lambda look: True, _finder(pattern)))
    return rules


def _finder(pattern: re.Pattern[str]) -> Callable[[str], Iterable[Span]]:
    return lambda text: (match.span() for match in pattern.finditer(text))
