"""Reads a chat completion, as the OpenAI API and our engines answer it, into choices, tokens and usage."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from journeyman.errors import InvalidInput
from journeyman.records import Choice, Message, Tokens, Usage


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Logprob(BaseModel):
    logprob: float


class _Logprobs(BaseModel):
    content: tuple[_Logprob, ...] | None = None


class _Choice(BaseModel):
    message: Message
    finish_reason: str | None = None
    token_ids: tuple[int, ...] | None = None
    token_logprobs: tuple[float, ...] | None = None
    logprobs: _Logprobs | None = None


class Completion(BaseModel):
    """A chat completion's body; fields that we do not use are left unread."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    choices: tuple[_Choice, ...]
    usage: _Usage | None = None
    prompt_token_ids: tuple[int, ...] | None = None

    def read_choices(self) -> tuple[Choice, ...]:
        """The choices, with what the engine sampled where it told us."""
        return tuple(
            Choice(message=choice.message, finish_reason=choice.finish_reason, tokens=self._tokens(choice))
            for choice in self.choices
        )

    def read_usage(self) -> Usage | None:
        """Tokens that were paid for; None when the answer does not say."""
        if self.usage is None:
            return None
        details = self.usage.prompt_tokens_details
        return Usage(
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            cached_prompt_tokens=(details.cached_tokens or 0) if details else 0,
        )

    def _tokens(self, choice: _Choice) -> Tokens | None:
        """Only a whole account counts: one logprob for each reply token, and the prompt's ids."""
        logprobs = choice.token_logprobs
        if logprobs is None and choice.logprobs is not None and choice.logprobs.content is not None:
            logprobs = tuple(entry.logprob for entry in choice.logprobs.content)
        if self.prompt_token_ids is None or choice.token_ids is None or logprobs is None:
            return None
        if len(logprobs) != len(choice.token_ids):
            return None
        return Tokens(prompt=self.prompt_token_ids, reply=choice.token_ids, logprobs=logprobs)


def read_completion(body: Any) -> Completion:
    """A parsed body as a Completion; InvalidInput says what is not as the API has it."""
    try:
        return Completion.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidInput(f"not a chat completion: {where}: {first['msg']}") from error


def error_message(body: Any) -> str | None:
    """The message of an OpenAI-shaped error body; None when it is not one."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or error)
    return str(error) if error else None


def error_code(body: Any) -> str | None:
    """The short name of an error in an OpenAI-shaped error body, such as `context_length_exceeded`."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None
