"""What one attempt may use: waits, calls and tokens, all bounded."""

from pydantic import Field

from journeyman.records import Frozen


class RolloutLimits(Frozen):
    """The bounds of one attempt.

    Seconds bound each model call, each reaction of the environment, and the whole attempt. `max_context_tokens` is
    what prompt and reply together may come to, looked at before each call: what does not fit ends the attempt with
    ContextTooLong. `max_sampled_tokens` bounds all replies of the attempt together: the last one is asked to be that
    much shorter, and when nothing is left the attempt ends as at `max_calls`, without an error. `retries` are further
    tries of a call that the engine failed at; unless there are none, one that starts again, and says when it will be
    back (503), is waited for instead, up to `seconds_per_call`. None of the tokens: no bound.
    """

    max_calls: int = Field(32, ge=1)
    seconds_per_call: float = Field(600.0, gt=0)
    seconds_per_step: float = Field(60.0, gt=0)
    seconds_per_episode: float = Field(3600.0, gt=0)
    max_context_tokens: int | None = Field(None, ge=1)
    max_sampled_tokens: int | None = Field(None, ge=1)
    retries: int = Field(2, ge=0)
