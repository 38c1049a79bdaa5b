"""Says why an exchange cannot be learned from on-policy: a wrong record there teaches something nobody sampled."""

from journeyman.records import Exchange


def on_policy_problem(exchange: Exchange) -> str | None:
    """The first reason why on-policy training must refuse the exchange; None when it may be used.

    It must have been read from the very bytes of a call that completed, with the ids that the engine saw and sampled
    and a log-probability for each sampled one.
    """
    if exchange.state != "complete":
        return f"the call is {exchange.state}, not complete"
    if exchange.fidelity != "exact":
        return (
            f"its record is {exchange.fidelity}, not exact ({exchange.source}): what was sampled is not known for sure"
        )
    if not exchange.choices:
        return "it has no reply"
    for number, choice in enumerate(exchange.choices, start=1):
        tokens = choice.tokens
        if tokens is None:
            return f"choice {number} has no token ids; ask the engine for them (return_token_ids and logprobs)"
        if not tokens.prompt or not tokens.reply:
            return f"choice {number} lacks the token ids of its {'reply' if tokens.prompt else 'prompt'}"
        if len(tokens.logprobs) != len(tokens.reply):
            return (
                f"choice {number} has {len(tokens.logprobs)} log-probabilities for {len(tokens.reply)} sampled tokens"
            )
        if any(not -float("inf") < logprob <= 0 for logprob in tokens.logprobs):
            return f"choice {number} has a log-probability that is none (above 0, infinite or NaN)"
    return None
