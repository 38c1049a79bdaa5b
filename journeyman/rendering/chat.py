"""A model's tokenizer and chat template: the one place where conversations become tokens, for serving and training."""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Message, Tool
from journeyman.rendering.reasoning import CLOSING, OPENING
from journeyman.rendering.seams import Rendered, Spellings, texts_in, unused_mark, without_marks
from journeyman.rendering.vocabulary import MARKERS, Encoded, Vocabulary, check_tokenizer

TEMPLATE_FILE = "chat_template.jinja"
TOOL_TEMPLATE = Path(__file__).parent / "templates" / "smollm2-tools.jinja"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
_READS_ARGUMENTS_AS_TEXT = re.compile(r"arguments\W*\s+is\s+string")
_TAG = re.compile(r"[<\[].+[>\]]")


class ChatTemplate:
    """A Jinja chat template as Hugging Face models carry it, rendered in a sandbox.

    `version` is the hash of its text: it is stored with every adapter that learned under it.
    """

    def __init__(self, text: str, special_tokens: dict[str, str] | None = None) -> None:
        self.text = text
        self.version = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.special_tokens = special_tokens or {}
        self.shows_tools = "tools" in text
        self._knows_developers = "developer" in text
        # Templates written for Hugging Face expect arguments as an object, unless they say what to do with a string.
        self._parses_arguments = _READS_ARGUMENTS_AS_TEXT.search(text) is None
        try:
            self._template = self._compiled(template_environment())
        except TemplateError as error:
            raise InvalidInput(f"the chat template is not valid Jinja: {error}; repair {TEMPLATE_FILE}") from error

    def _compiled(self, environment: ImmutableSandboxedEnvironment) -> Template:
        return environment.from_string(self.text)

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, ask_for_reply: bool = True) -> str:
        """The conversation as text; with `ask_for_reply` it ends where the assistant is to begin."""
        return self._fill(self._shown(messages), _wires(tools), ask_for_reply)

    def render_apart(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        spelled_by_people: Spellings,
        spelled_by_model: Spellings,
        *,
        ask_for_reply: bool = True,
    ) -> Rendered:
        """As `render`, with a seam wherever a message or a tool spells one of the tokens that it may not spell."""
        shown, offered = self._shown(messages), _wires(tools)
        text = self._fill(shown, offered, ask_for_reply)
        spellings = [spelled_by_model if message["role"] == "assistant" else spelled_by_people for message in shown]
        parts = [*zip(spellings, shown, strict=True), *((spelled_by_people, tool) for tool in offered)]
        if not any(spelled.places(found) for spelled, part in parts for found in texts_in(part)):
            return Rendered(text)
        mark = unused_mark([text, *texts_in(shown), *texts_in(offered)])
        messages_marked = [spelled.marked_message(message, mark) for spelled, message in parts[: len(shown)]]
        tools_marked = [spelled.marked_tool(tool, mark) for spelled, tool in parts[len(shown) :]]
        return without_marks(self._fill(messages_marked, tools_marked, ask_for_reply), mark, text)

    def _fill(self, shown: list[dict[str, Any]], tools: list[dict[str, Any]], ask_for_reply: bool) -> str:
        try:
            return self._template.render(
                messages=shown, tools=tools or None, add_generation_prompt=ask_for_reply, **self.special_tokens
            )
        except Exception as error:
            # A template is a program that came with the model: what it cannot digest, it fails on in any way it likes.
            what = "this conversation" if shown else "an assistant turn that nothing comes before"
            raise InvalidInput(f"the model's chat template refuses {what}: {error}") from error

    def _shown(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return [
            self._shown_one(message, wire, position)
            for position, (message, wire) in enumerate(zip(messages, _wires(messages), strict=True))
        ]

    def _shown_one(self, message: Message, wire: dict[str, Any], position: int) -> dict[str, Any]:
        """The message as transformers hands it to templates: text as one string, and nothing that is null."""
        shown = {name: value for name, value in wire.items() if value is not None}
        if message.role == "developer" and not self._knows_developers:
            # OpenAI's newer name of the same; a template that has not heard of it leaves the message out in silence.
            shown["role"] = "system"
        if isinstance(message.content, list):
            shown["content"] = _text_of(message.content, position)
        if self._parses_arguments:
            for call in shown.get("tool_calls") or ():
                call["function"]["arguments"] = _as_object(call["function"]["arguments"], position)
        return shown


class ChatTokenizer:
    """Token ids of conversations for one model folder (tokenizer.json, chat template, stop tokens)."""

    def __init__(self, folder: Path, template: ChatTemplate | None = None) -> None:
        self.folder, self.vocabulary = folder, Vocabulary(folder)
        self.tokenizer = self.vocabulary.tokenizer
        self.template = template or read_template(folder)

    def for_adapter(self, folder: Path) -> "ChatTokenizer":
        """The same tokenizer under the template that the adapter in `folder` learned with, if it brings one.

        InvalidInput when it learned under a tokenizer with other ids.
        """
        check_tokenizer(folder, self.folder)
        path = folder / TEMPLATE_FILE
        if not path.is_file() or (text := _read_text(path)) == self.template.text:
            return self
        other = ChatTokenizer.__new__(ChatTokenizer)
        other.folder, other.vocabulary, other.tokenizer = self.folder, self.vocabulary, self.tokenizer
        other.template = ChatTemplate(text, self.template.special_tokens)
        return other

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply: the end-of-sequence ids of the model's generation settings."""
        for name in ("generation_config.json", "config.json"):
            found = _read_json(self.folder / name).get("eos_token_id")
            if found is not None:
                return frozenset(found if isinstance(found, list) else [found])
        raise ModelFileBroken(f"{self.folder.name}: no end-of-sequence token is configured in config.json")

    @cached_property
    def thinks(self) -> bool:
        """Whether the model may think before it speaks."""
        return OPENING in self.template.text or CLOSING in self.template.text

    @cached_property
    def _spelled(self) -> tuple[Spellings, Spellings]:
        """What people may not spell, and what the model's own earlier turns may not.

        A model writes its markers itself, so in its turns they are what they were. Not all that a file adds is a
        control token, some of it is line breaks: people's `<tool_response>` is one where the template writes that.
        """
        special = self.vocabulary.special
        written = {text for text in self.vocabulary.added if _TAG.fullmatch(text) and text in self.template.text}
        return Spellings(special | written), Spellings(special - MARKERS)

    def encode(self, text: str) -> list[int]:
        """Ids of text that already carries its special tokens."""
        return self.encoding(Rendered(text)).ids

    def encoding(self, rendered: Rendered) -> Encoded:
        """The ids of a rendered conversation, or of a part of one, with the character offsets of every token."""
        return self.vocabulary.encode(rendered)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Text of ids."""
        return self.vocabulary.decode(ids, keep_special=keep_special)

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, ask_for_reply: bool = True
    ) -> Rendered:
        """The template's text of a conversation, with seams where a message only spells a control token."""
        return self.template.render_apart(messages, tools, *self._spelled, ask_for_reply=ask_for_reply)

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids of a conversation up to where the assistant is to begin."""
        return self.encoding(self.render(messages, tools)).ids


def template_environment() -> ImmutableSandboxedEnvironment:
    """A sandbox in which chat templates find what transformers gives them."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def read_template(folder: Path) -> ChatTemplate:
    """The chat template of a model folder."""
    config = _read_json(folder / "tokenizer_config.json")
    specials = {name: _token_text(config[name]) for name in _SPECIAL_TOKENS if config.get(name)}
    path = folder / TEMPLATE_FILE
    text = _read_text(path) if path.is_file() else config.get("chat_template")
    if not isinstance(text, str):
        raise ModelFileBroken(f"{folder.name}: it has no chat template; add a {TEMPLATE_FILE} to its folder")
    return ChatTemplate(text, specials)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path.parent.name}: {path.name} is no text in UTF-8 (byte {error.start}); save it as such"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one when there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelFileBroken(
            f"{path.parent.name}: {path.name} is damaged ({error}); take the file again from where the model came from"
        ) from error
    if not isinstance(found, dict):
        raise ModelFileBroken(f"{path.parent.name}: {path.name} is damaged: it holds no JSON object; take it again")
    return dict(found)


class _GenerationBlock(Extension):
    """`{% generation %}`, by which some templates mark replies: we find them otherwise, and render what is inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _wires(values: Sequence[Message | Tool]) -> list[dict[str, Any]]:
    try:
        return [value.wire() for value in values]
    except ValueError as error:  # Names with half a character in them; its texts pass.
        raise InvalidInput(f"the conversation holds half a character (a lone surrogate): {error}") from error


def _text_of(parts: Sequence[dict[str, Any]], position: int) -> str:
    for part in parts:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise InvalidInput(
                f"message {position} has a {part.get('type')!r} part that is not text; this model reads text only"
            )
    return "".join(part["text"] for part in parts)


def _as_object(arguments: str, position: int) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
    except RecursionError as error:
        raise InvalidInput(
            f"message {position} calls a tool with arguments that are nested too deeply to be read; leave the call out"
        ) from error


def _token_text(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
