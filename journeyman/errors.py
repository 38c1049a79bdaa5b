"""Every error that Journeyman raises on purpose; each message says what to do next.

    JourneymanError
    ├── InvalidInput            something given to us cannot be used (HTTP 400, exit code 2)
    │   ├── ContextTooLong      prompt and reply do not fit the model
    │   └── BadRow              a dataset line, named by its number
    ├── NotFound                no such model, dataset, adapter, alias (HTTP 404, exit code 2)
    ├── Refused                 allowed in principle, but a gate or a guard said no
    ├── ModelFileBroken         missing, truncated or altered weights
    ├── UpstreamFailed          an engine or a provider answered with an error, or not at all
    ├── Overloaded              too much is waiting already (HTTP 429); try again after `retry_after` seconds
    ├── DeadlineExceeded        the reply was not ready by the time after which nobody wants it (HTTP 504)
    ├── ProgramFailed           an agent's own program ended with an error
    ├── PortInUse               another program listens there
    └── DiskFull                nothing half-written was left behind

They are caught at three boundaries only: a gateway request, a rollout, a worker's run; the command
line turns what is left into one line and an exit code.
"""

from collections.abc import Iterable


class JourneymanError(Exception):
    """Base of all errors here. `code` is the short machine-readable name used in HTTP answers."""

    code = "error"
    status = 500
    exit_code = 1


class InvalidInput(JourneymanError):
    """Something given to us cannot be used."""

    code = "invalid_request"
    status = 400
    exit_code = 2


class ContextTooLong(InvalidInput):
    """Prompt and reply do not fit the model's context."""

    code = "context_length_exceeded"

    def __init__(self, asked: int, limit: int, what: str = "prompt") -> None:
        super().__init__(
            f"the {what} is {asked} tokens, but the model's context holds {limit}; "
            "shorten the messages or lower max_tokens"
        )
        self.asked, self.limit = asked, limit


class NothingToCompare(InvalidInput):
    """A reward that compares attempts was given one alone."""

    code = "nothing_to_compare"


class BadRow(InvalidInput):
    """A line of an imported dataset cannot be used."""

    code = "bad_row"

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line, self.problem = line, problem


class NotFound(JourneymanError):
    """No such thing; the message lists the names that exist."""

    code = "not_found"
    status = 404
    exit_code = 2

    def __init__(self, kind: str, name: str, existing: Iterable[str], hint: str = "") -> None:
        names = sorted(set(existing))
        known = ", ".join(names) if names else "none yet"
        super().__init__(f"no {kind} named {name!r}; there is: {known}" + (f". {hint}" if hint else ""))
        self.kind, self.name, self.existing = kind, name, names


class Refused(JourneymanError):
    """A gate or a guard said no; the message says which, and what would satisfy it."""

    code = "refused"
    status = 409
    exit_code = 3


class ModelFileBroken(JourneymanError):
    """Model or adapter weights are missing, truncated or altered."""

    code = "model_file_broken"
    exit_code = 2


class UpstreamFailed(JourneymanError):
    """An engine or a provider answered with an error, or not at all.

    `retry_after` is in seconds, where it is known that trying again will help.
    """

    code = "upstream_failed"
    status = 502

    def __init__(self, message: str, status: int = 502, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Overloaded(JourneymanError):
    """Too much is waiting already; `retry_after` is in seconds."""

    code = "overloaded"
    status = 429

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(JourneymanError):
    """The reply was not ready by the time after which nobody wants it."""

    code = "deadline_exceeded"
    status = 504


class ProgramFailed(JourneymanError):
    """An agent's own program ended with an error."""

    code = "program_failed"


class PortInUse(JourneymanError):
    """Another program listens on the port we were asked to use."""

    code = "port_in_use"
    exit_code = 2


class DiskFull(JourneymanError):
    """No space left; nothing half-written was left behind."""

    code = "disk_full"
