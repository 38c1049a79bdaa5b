"""Takes literal text out of prompts: instructions that a model, once it has learned the task, needs no more.

The same rules, in the same order, apply to the rows that are learned and to the prompts that the adapter is then
served, or it would be asked something that it never saw. What an assistant said is left alone: it is what is learned.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from journeyman.errors import InvalidInput
from journeyman.records import Message, Row

CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English, where no tokenizer is at hand."""
_PROMPTS = ("messages", "system", "prompt", "input", "instructions")
"""Where requests carry what is put to the model, in OpenAI's and in Anthropic's APIs."""


def check_rules(rules: Sequence[str]) -> tuple[str, ...]:
    """The rules; InvalidInput when one is blank, and would match everywhere."""
    for rule in rules:
        if not rule.strip():
            raise InvalidInput("a pruning rule is blank; write the text that is to be removed from prompts")
    return tuple(rules)


def prune(messages: Sequence[Message], rules: Sequence[str]) -> tuple[Message, ...]:
    """The messages without the text of the rules; a system message that has nothing left is dropped."""
    if not rules:
        return tuple(messages)
    pruned = prune_wire([message.wire() for message in messages], rules)
    return tuple(Message.model_validate(message) for message in pruned)


def prune_wire(messages: Sequence[Any], rules: Sequence[str]) -> list[Any]:
    """As `prune`, for messages as a request's JSON body carries them; what is no message stays as it is."""
    pruned = [_pruned(message, rules) if isinstance(message, Mapping) else message for message in messages]
    return [after for before, after in zip(messages, pruned, strict=True) if after == before or not _is_empty(after)]


def prune_request(fields: Mapping[str, Any], rules: Sequence[str]) -> dict[str, Any]:
    """Those top-level fields of a request's body that pruning changes, as they are afterwards; any API's."""
    changed: dict[str, Any] = {}
    for name in _PROMPTS:
        before = fields.get(name)
        if before:
            whole = isinstance(before, list) and name in ("messages", "input")
            after = prune_wire(before, rules) if whole else _shorter(before, rules)
            if after != before:
                changed[name] = after
    return changed


def prune_rows(
    rows: Sequence[Row], rules: Sequence[str], count_tokens: Callable[[str], int] | None = None
) -> tuple[list[Row], int, int]:
    """Rows with pruned prompts, how many changed, and how many tokens that saves (an estimate without a tokenizer)."""
    count = count_tokens or estimated_tokens
    pruned, changed, saved = [], 0, 0
    for row in rows:
        shorter = {"messages": prune(row.messages, rules)}
        if row.rejected is not None:
            shorter["rejected"] = prune(row.rejected, rules)
        if any(messages != getattr(row, name) for name, messages in shorter.items()):
            changed += 1
            saved += sum(_tokens(getattr(row, name), count) - _tokens(shorter[name], count) for name in shorter)
            # Fields that were never set must stay so: an unset split is one that may still be decided.
            row = row.model_copy(update=shorter)
        pruned.append(row)
    return pruned, changed, saved


def estimated_tokens(text: str) -> int:
    """Tokens of a text at four characters each."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _tokens(messages: Sequence[Message], count: Callable[[str], int]) -> int:
    return sum(count(message.text) for message in messages)


def _pruned(message: Mapping[str, Any], rules: Sequence[str]) -> Mapping[str, Any]:
    if message.get("role") == "assistant" or not message.get("content"):
        return message
    shorter = _shorter(message["content"], rules)
    return message if shorter == message["content"] else {**message, "content": shorter}


def _shorter(value: Any, rules: Sequence[str]) -> Any:
    """A text, or the text in a message's parts, without what the rules name; everything else as it was."""
    if isinstance(value, str):
        return _without(value, rules)
    if isinstance(value, list):
        return [_shorter(each, rules) for each in value]
    if isinstance(value, Mapping):
        return {key: _shorter(each, rules) if key in ("text", "content") else each for key, each in value.items()}
    return value


def _without(text: str, rules: Sequence[str]) -> str:
    shorter, before = text, ""
    # Until nothing is found any more, so that pruning what is pruned changes nothing.
    while shorter != before:
        before = shorter
        for rule in rules:
            shorter = shorter.replace(rule, "")
    # Only what is left around a cut is tidied: a text that no rule touches stays as it was, to the last blank.
    return shorter if shorter == text else shorter.strip()


def _is_empty(message: Any) -> bool:
    if message.get("role") not in ("system", "developer"):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return not any(part.get("text") or part.get("type") != "text" for part in content if isinstance(part, Mapping))
    return not content
