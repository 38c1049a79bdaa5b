import pytest

from journeyman.capture.on_policy import on_policy_problem
from journeyman.records import Choice, Exchange, Tokens
from journeyman.records.message import assistant, user


def exchange(tokens=Tokens(prompt=(1,), reply=(2, 3), logprobs=(-0.5, 0.0)), **fields):
    choices = (Choice(message=assistant("yes"), finish_reason="stop", tokens=tokens),)
    told = {"model": "m", "state": "complete", "messages": (user("hi"),), "choices": choices, **fields}
    return Exchange.model_validate(told)


def test_an_exact_and_complete_exchange_may_be_used():
    assert on_policy_problem(exchange()) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"state": "truncated_upstream"}, "truncated_upstream"),
        ({"state": "killed"}, "killed"),
        ({"fidelity": "reconstructed", "source": "import:helicone"}, "reconstructed, not exact .import:helicone"),
        ({"fidelity": "lossy"}, "lossy"),
        ({"choices": ()}, "no reply"),
        ({"tokens": None}, "no token ids"),
        ({"tokens": Tokens(prompt=(), reply=(1,), logprobs=(-1.0,))}, "of its prompt"),
        ({"tokens": Tokens(prompt=(1,), reply=(), logprobs=())}, "of its reply"),
        ({"tokens": Tokens(prompt=(1,), reply=(1, 2), logprobs=(-1.0,))}, "1 log-probabilities for 2"),
        ({"tokens": Tokens(prompt=(1,), reply=(1,), logprobs=(0.1,))}, "above 0"),
        ({"tokens": Tokens(prompt=(1,), reply=(1,), logprobs=(float("nan"),))}, "NaN"),
        ({"tokens": Tokens(prompt=(1,), reply=(1,), logprobs=(-float("inf"),))}, "infinite"),
    ],
)
def test_everything_else_is_refused_with_the_reason(changed, reason):
    import re

    assert re.search(reason, on_policy_problem(exchange(**changed)))


def test_every_choice_must_be_fit():
    fit = exchange().choices[0]
    assert "choice 2" in on_policy_problem(exchange(choices=(fit, Choice(message=assistant("no")))))
