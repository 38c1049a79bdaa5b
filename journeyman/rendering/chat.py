"""A model's tokenizer and chat template: the one place where conversations become token ids, for serving and training alike."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from journeyman.errors import InvalidInput, ModelFileBroken
from journeyman.records import Message, Tool

TEMPLATE_FILE = "chat_template.jinja"
TOOL_TEMPLATE = Path(__file__).parent / "templates" / "smollm2-tools.jinja"


class ChatTemplate:
    """A Jinja chat template as Hugging Face models carry it, rendered in a sandbox.

    `version` is the hash of its text: it is stored with every adapter that learned under it.
    """

    def __init__(self, text: str, special_tokens: dict[str, str] | None = None) -> None:
        self.text = text
        self.version = hashlib.sha256(text.encode()).hexdigest()[:12]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
        self._special_tokens = special_tokens or {}
        self._template = environment.from_string(text)

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, ask_for_reply: bool = True) -> str:
        """The conversation as text; with `ask_for_reply` it ends where the assistant is to begin."""
        try:
            return self._template.render(
                messages=[_for_template(message) for message in messages],
                tools=[tool.wire() for tool in tools] or None,
                add_generation_prompt=ask_for_reply,
                **self._special_tokens,
            )
        except TemplateError as error:
            raise InvalidInput(f"the model's chat template refuses this conversation: {error}") from error


class ChatTokenizer:
    """Token ids of conversations for one model folder (tokenizer.json, chat template, stop tokens)."""

    def __init__(self, folder: Path, template: ChatTemplate | None = None) -> None:
        self.folder = folder
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelFileBroken(f"{folder.name}: tokenizer.json is missing; pull the model again")
        self.tokenizer = Tokenizer.from_file(str(path))
        self.template = template or read_template(folder)

    def with_template(self, template: ChatTemplate) -> "ChatTokenizer":
        """The same tokenizer under another template (an adapter's own)."""
        if template.version == self.template.version:
            return self
        other = ChatTokenizer.__new__(ChatTokenizer)
        other.folder, other.tokenizer, other.template = self.folder, self.tokenizer, template
        return other

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply: the end-of-sequence ids of the model's generation settings."""
        for name in ("generation_config.json", "config.json"):
            path = self.folder / name
            found = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
            if found is not None:
                return frozenset(found if isinstance(found, list) else [found])
        raise ModelFileBroken(f"{self.folder.name}: no end-of-sequence token is configured in config.json")

    def encode(self, text: str) -> list[int]:
        """Ids of text that already carries its special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Text of ids."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=not keep_special))

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Ids of a conversation up to where the assistant is to begin."""
        return self.encode(self.template.render(messages, tools))


def read_template(folder: Path) -> ChatTemplate:
    """The chat template of a model or adapter folder."""
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text()) if config_path.is_file() else {}
    specials = {name: _token_text(config[name]) for name in ("bos_token", "eos_token", "unk_token") if config.get(name)}
    path = folder / TEMPLATE_FILE
    text = path.read_text() if path.is_file() else config.get("chat_template")
    if not isinstance(text, str):
        raise ModelFileBroken(f"{folder.name}: it has no chat template; add a {TEMPLATE_FILE} to its folder")
    return ChatTemplate(text, specials)


def _for_template(message: Message) -> dict[str, Any]:
    # Templates written for Hugging Face expect arguments as an object and text content as a string.
    rendered = message.wire()
    if isinstance(message.content, list):
        rendered["content"] = message.text
    rendered.setdefault("content", None)
    return rendered


def _token_text(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, **options)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
