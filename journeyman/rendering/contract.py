"""What a chat template must keep for training to teach what serving asks: checked before a run, with the line at fault.

- *prefix*: what was rendered of a conversation stays as it was when the conversation goes on;
- *stop*: a reply continues the generation prompt, and ends with a token at which the engine stops;
- *tools*: a call that is rendered and read back is the same call;
- *thoughts*: so is a thought;
- *tokens*: the ids before every target of training are those that the engine makes of the same messages;
- *control*: what people write, whatever it spells, adds no control token;
- *clock*: the same messages are the same text tomorrow.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from journeyman.errors import InvalidInput
from journeyman.records import Message, Tool
from journeyman.records.message import system, tool_result, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import MaskedTokens, mask_conversation, mask_rows
from journeyman.rendering.probes import ARGUMENTS, TOOL, Probe, calling, conversations, saying
from journeyman.rendering.provenance import Provenance, line_of_error
from journeyman.rendering.reasoning import opens_thought
from journeyman.rendering.reply import ReplyReader
from journeyman.rendering.tool_calls import offered_of, style_of

Rule = Literal["prefix", "stop", "tools", "thoughts", "tokens", "control", "clock", "renders"]
_MARKER = re.compile(r"<\|[\w-]+\|>")
_REWRITTEN = "an earlier turn is rendered differently once the conversation goes on"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a template breaks. A `fault` makes training wrong; what is no fault is worth knowing.

    `line` counts from 1 in the template's source, `excerpt` is what stands there; None and empty where the fault is
    in no line of it.
    """

    rule: Rule
    fault: bool
    message: str
    line: int | None = None
    excerpt: str = ""

    def __str__(self) -> str:
        where = f"line {self.line}: {self.excerpt}" if self.line else "no one line"
        return f"{'fault' if self.fault else 'note'} ({self.rule}): {self.message} [{where}]"


def contract(tokenizer: ChatTokenizer) -> list[Finding]:
    """Everything that the model's template, tokenizer and stop tokens break together; faults first.

    An empty list is a template that keeps the contract. Takes well under a second, and needs no weights.
    """
    checks = _Checks(tokenizer)
    found: dict[tuple[object, ...], Finding] = {}
    for finding in checks.all():
        # One line breaks one rule in many conversations; the first of them shows it.
        told_once = finding.line is not None and finding.rule in ("prefix", "stop", "tokens")
        found.setdefault((finding.rule, finding.fault, finding.line, "" if told_once else finding.message), finding)
    return sorted(found.values(), key=lambda finding: not finding.fault)


def require_contract(tokenizer: ChatTokenizer) -> list[Finding]:
    """The notes of a template that may be trained on; InvalidInput with every fault of one that may not."""
    found = contract(tokenizer)
    if faults := [finding for finding in found if finding.fault]:
        listed = "\n".join(f"  {finding}" for finding in faults)
        raise InvalidInput(
            f"the chat template of {tokenizer.folder.name} cannot be trained on; nothing was started. "
            f"Repair the lines named, or take another template:\n{listed}"
        )
    return found


class _Checks:
    """The checks of one tokenizer; those that need a feature look first whether the template has it."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer, self._provenance = tokenizer, Provenance(tokenizer.template)
        self._shows_tools = tokenizer.template.shows_tools

    def all(self) -> Iterator[Finding]:
        """Every check; a template that refuses plain conversations is asked no more."""
        plain = list(self._guarded("a conversation", self.conversations()))
        yield from plain
        if any(finding.rule == "renders" and finding.fault for finding in plain):
            return
        yield from self._guarded("a question with tools", self.tools())
        yield from self._guarded("a thought", self.thoughts())
        yield from self._guarded("a message that spells control tokens", self.controls())
        yield from self.clock()

    def _guarded(self, what: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        """The findings up to a conversation that the template refuses where it has to take it."""
        try:
            yield from findings
        except InvalidInput as error:
            yield self._refused(what, error, fault=True)

    def conversations(self) -> Iterator[Finding]:
        """Prefix stability, stop tokens and equal ids over whole conversations."""
        for probe in conversations(with_tools=self._shows_tools, with_thoughts=self._tokenizer.thinks):
            try:
                self._tokenizer.render(probe.messages, probe.tools, ask_for_reply=False)
            except InvalidInput as error:
                yield self._refused(probe.what, error, fault=probe.needed)
                continue
            for position, message in enumerate(probe.messages):
                if message.role == "assistant":
                    yield from self._reply(probe, position)
            yield from self._same_ids(probe)

    def _reply(self, probe: Probe, position: int) -> Iterator[Finding]:
        asked_of, answered_of = probe.messages[:position], probe.messages[: position + 1]
        asked = self._tokenizer.render(asked_of, probe.tools).text
        answered = self._tokenizer.render(answered_of, probe.tools, ask_for_reply=False).text
        if not answered.startswith(asked):
            text = f"a reply does not continue what the model was asked with ({probe.what})"
            yield self._diverging("stop", text, (asked_of, True), (answered_of, False), probe.tools, fault=True)
            return
        yield from self._end(probe, position, asked, answered)
        if position + 1 == len(probe.messages):
            return
        longer_of = probe.messages[: position + 2]
        longer = self._tokenizer.render(longer_of, probe.tools, ask_for_reply=False).text
        if not longer.startswith(answered.rstrip("\n")):
            text = f"{_REWRITTEN} ({probe.what}): such a conversation cannot be one row of training"
            yield self._diverging("prefix", text, (answered_of, False), (longer_of, False), probe.tools, fault=False)

    def _end(self, probe: Probe, position: int, asked: str, answered: str) -> Iterator[Finding]:
        encoded = self._tokenizer.encode(answered[len(asked) :])
        stops = self._tokenizer.stop_ids
        name = self._tokenizer.tokenizer.id_to_token
        if not stops.intersection(encoded):
            last = len(answered.rstrip()) - 1
            known = ", ".join(sorted(str(name(stop)) for stop in stops))
            ends = f"the template ends a reply with {answered[max(last - 15, 0) : last + 1]!r}, and the engine stops at"
            text = f"{ends} {known}: the model could not learn to stop"
            yield self._at("stop", text, probe.messages[: position + 1], probe.tools, last, fault=True, ask=False)
        for marker in _MARKER.finditer(answered):
            if marker[0] not in self._tokenizer.vocabulary.added:
                text = f"{marker[0]} is no token of this tokenizer: the model reads it as words"
                place = marker.start()
                yield self._at("control", text, probe.messages[: position + 1], probe.tools, place, ask=False)

    def _same_ids(self, probe: Probe) -> Iterator[Finding]:
        """Each target once, each behind the ids that the engine's `/tokenize` gives for the messages before it."""
        targets = [at for at, message in enumerate(probe.messages) if message.role == "assistant"]
        learned: list[tuple[bool, list[MaskedTokens]]] = []
        with suppress(InvalidInput):  # Each reason is a finding of its own by now.
            learned.append((True, mask_rows(self._tokenizer, probe.messages, probe.tools)))
        with suppress(InvalidInput):
            learned.append((False, [mask_conversation(self._tokenizer, probe.messages, probe.tools)]))
        for fault, rows in learned:
            starts = [(row, at) for row in rows for at in range(1, len(row.ids)) if row.mask[at] > row.mask[at - 1]]
            for position, (row, start) in zip(targets, starts, strict=False):
                served = self._tokenizer.prompt(probe.messages[:position], probe.tools)
                if list(row.ids[:start]) != served:
                    place = len(self._tokenizer.decode(served[: _common(row.ids, served)], keep_special=True))
                    text = f"before message {position} one row of training has other ids than serving ({probe.what})"
                    yield self._at("tokens", text, probe.messages[:position], probe.tools, place, fault=fault)

    def tools(self) -> Iterator[Finding]:
        """Calls read back as they were rendered, and whether calls, results and tools are shown at all."""
        if not self._shows_tools:
            yield Finding("tools", False, "the template shows no tools: conversations with tools cannot be learned")
            return
        question = (user("Where is it?"),)
        if TOOL.function.name not in self._tokenizer.render(question, [TOOL]).text:
            yield Finding("tools", True, "the tools that are offered are not shown to the model")
        kept = True
        for arguments in ARGUMENTS:
            given = calling(arguments)
            for finding in self._read_back(question, given, "a tool call", fault=True):
                kept = False
                yield finding
        if not kept:
            return
        yield from self._read_back(question, calling(ARGUMENTS[0], "I look."), "words before a call", fault=False)
        yield from self._read_back(question, calling(ARGUMENTS[0], times=2), "two calls at once", fault=False)
        yield from self._spelling(question)
        loop = (*question, calling(ARGUMENTS[0]), tool_result("call_0", "here-is-the-result"))
        rendered = self._tokenizer.template.render(loop, [TOOL])
        if "here-is-the-result" not in rendered:
            yield self._at("tools", "the result of a tool is left out", loop, [TOOL], len(rendered), fault=True)

    def _read_back(self, question: tuple[Message, ...], given: Message, what: str, *, fault: bool) -> Iterator[Finding]:
        try:
            read, start = self._as_read(question, given)
        except InvalidInput as error:
            yield self._refused(what, error, fault=fault)
            return
        if _calls(read) != _calls(given):
            text = f"{what} is not read back as it was ({_shown(given)} became {_shown(read)})"
        elif read.text.strip() != given.text.strip():
            text = f"{what}: the words are not read back as they were ({given.content!r} became {read.content!r})"
        else:
            return
        yield self._at("tools", text, (*question, given), [TOOL], start, fault=fault, ask=False)

    def _spelling(self, question: tuple[Message, ...]) -> Iterator[Finding]:
        given = calling('{"order":"17","share":1.50}')
        read, start = self._as_read(question, given)
        written = read.tool_calls[0].function.arguments if read.tool_calls else ""
        if written != '{"order":"17","share":1.50}':
            place = self._tokenizer.template.render((*question, given), [TOOL], ask_for_reply=False).find(written)
            text = "arguments are learned with the same values, but not in the characters that the model wrote"
            yield self._at("tools", text, (*question, given), [TOOL], max(place, start), ask=False)

    def _as_read(self, question: tuple[Message, ...], given: Message) -> tuple[Message, int]:
        """The reply as a client would get it, and where it begins in the rendered text."""
        asked = self._tokenizer.render(question, [TOOL])
        answered = self._tokenizer.render((*question, given), [TOOL], ask_for_reply=False)
        start = len(asked.text) if answered.text.startswith(asked.text) else 0
        ids = self._tokenizer.encoding(answered.part(start)).ids
        end = next((at for at, id in enumerate(ids) if id in self._tokenizer.stop_ids), len(ids))
        style = style_of(self._tokenizer.template.text)
        reader = ReplyReader(style, offered_of([TOOL]), thinking=opens_thought(asked.text))
        reader.add(self._tokenizer.decode(ids[:end]), last=True)
        return reader.message, start

    def thoughts(self) -> Iterator[Finding]:
        """A thought read back as it was rendered."""
        if not self._tokenizer.thinks:
            return
        question, given = (user("Where is it?"),), saying("In the hall.", "Two of them.\nThe red one.")
        try:
            read, start = self._as_read(question, given)
        except InvalidInput as error:
            yield self._refused("a thought", error, fault=False)
            return
        thought = (read.model_extra or {}).get("reasoning_content")
        if thought != "Two of them.\nThe red one." or read.content != "In the hall.":
            text = f"a thought is not read back as it was: it became {thought!r}, and the words {read.content!r}"
            yield self._at("thoughts", text, (*question, given), [TOOL], start, ask=False)

    def controls(self) -> Iterator[Finding]:
        """Every control token, spelled in each place where people's words go."""
        vocabulary = self._tokenizer.vocabulary
        tokens = sorted(vocabulary.special | self._written_tags())
        spelled = " a ".join([*tokens, *(_widened(text) for text in tokens)])
        for what, words in (("all control tokens", f"a {spelled} a"), *((text, text) for text in tokens[:64])):
            for where, plain, hostile in self._places(words):
                finding = self._smuggled(what, where, plain, hostile)
                if finding is not None:
                    yield finding
                    break

    def _places(self, words: str) -> Iterator[tuple[str, tuple[Message, ...], tuple[Message, ...]]]:
        yield "a user's message", (user("hi"),), (user(words),)
        yield "a system message", (system("hi"), user("a")), (system(words), user("a"))
        if self._shows_tools:
            before = (user("a"), calling("{}"))
            yield "a tool's result", (*before, tool_result("call_0", "hi")), (*before, tool_result("call_0", words))

    def _smuggled(
        self, what: str, where: str, plain: tuple[Message, ...], hostile: tuple[Message, ...]
    ) -> Finding | None:
        tools = [TOOL] if self._shows_tools else []
        try:
            expected = self._controls(plain, tools)
        except InvalidInput:
            return None  # The template takes no message of this kind.
        try:
            found = self._controls(hostile, tools)
        except InvalidInput as error:
            if what == "all control tokens":
                return None  # One by one, so that the token is named.
            return self._refused(f"{where} that spells {what}", error, fault=False)
        if found == expected:
            return None
        more = (found - expected) or (expected - found)
        names = ", ".join(str(self._tokenizer.tokenizer.id_to_token(id)) for id in more)
        text = f"{what} in {where} changes the control tokens that the model reads: {names}"
        words = hostile[-1].text if hostile[-1].text not in {"", "a"} else hostile[0].text
        place = self._tokenizer.template.render(hostile, tools).find(words.strip())
        return self._at("control", text, hostile, tools, max(place, 0), fault=True)

    def _controls(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Counter[int]:
        vocabulary = self._tokenizer.vocabulary
        watched = {vocabulary.added[text] for text in vocabulary.special | self._written_tags()}
        return Counter(id for id in self._tokenizer.prompt(messages, tools) if id in watched)

    def _written_tags(self) -> set[str]:
        added, text = self._tokenizer.vocabulary.added, self._tokenizer.template.text
        return {tag for tag in added if tag[0] in "<[" and tag[-1] in ">]" and len(tag) > 2 and tag in text}

    def clock(self) -> Iterator[Finding]:
        """A template that asks for the day makes other prompts of the same messages tomorrow."""
        line = self._provenance.line_of_call("strftime_now")
        if line is not None:
            text = "the template writes today's date: a model learns the day of its training, and is served another"
            yield Finding("clock", False, text, line, self._provenance.excerpt(line))

    def _refused(self, what: str, error: InvalidInput, *, fault: bool) -> Finding:
        line = line_of_error(error)
        return Finding("renders", fault, f"{what}: {error}", line, self._provenance.excerpt(line))

    def _diverging(
        self,
        rule: Rule,
        text: str,
        shorter: tuple[Sequence[Message], bool],
        longer: tuple[Sequence[Message], bool],
        tools: Sequence[Tool],
        *,
        fault: bool,
    ) -> Finding:
        """The line that wrote the first character which is not as it was, in both renderings where they differ."""
        template = self._tokenizer.template
        before, after = (template.render(of, tools, ask_for_reply=asks) for of, asks in (shorter, longer))
        place = _common(before, after)
        lines = [self._provenance.line_at(of, tools, place, ask_for_reply=asks) for of, asks in (shorter, longer)]
        was, becomes = before[place : place + 24], after[place : place + 24]
        also = f", line {lines[1]} in its place" if lines[1] is not None and lines[1] != lines[0] else ""
        shown = f"{text}: {was!r} became {becomes!r}{also}"
        return Finding(rule, fault, shown, lines[0], self._provenance.excerpt(lines[0]))

    def _at(
        self,
        rule: Rule,
        text: str,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        place: int,
        *,
        fault: bool = False,
        ask: bool = True,
    ) -> Finding:
        line = self._provenance.line_at(messages, tools, place, ask_for_reply=ask)
        return Finding(rule, fault, text, line, self._provenance.excerpt(line))


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    """The length of the common beginning."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)


def _calls(message: Message) -> list[tuple[str, object]]:
    """Names and argument values: 1 and "1", and 1 and true, are not the same."""
    return [
        (call.function.name, json.dumps(json.loads(call.function.arguments), sort_keys=True))
        for call in message.tool_calls or ()
    ]


def _shown(message: Message) -> str:
    written = [f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or ()]
    return " ".join(written) or repr(message.content)


def _widened(text: str) -> str:
    """The same in full-width characters, which some tokenizers normalise to the plain ones."""
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)
