"""How far a judge can be trusted: measured against what is known to be true."""

from typing import Literal

from journeyman.records.evaluation import Interval
from journeyman.records.record import Record

JudgeForm = Literal["listwise", "pairwise", "pointwise"]


class JudgeCard(Record):
    """One judge (a model, a rubric, a form of asking) measured on labelled attempts of one task.

    `rubric` is the hash of the rubric and the prompts around it: after an edit no card is left that speaks of it.
    `truth` says where the labels come from. A pair is two attempts of a group with different truth. `accuracy` is the
    share of pairs that one verdict orders as the truth does, ties half; `both_orders` the share that is right whichever
    is shown first; `order_consistency` how often turning the order leaves the decision as it was, `repeat_stability`
    how often asking again does; `first_place` how often the attempt shown first won, of the decided pairs.
    `length_slope` is the score gained for e times as many words at equal truth. `parse_rate` is the share of answers
    that could be read, `mismatches` that of verdicts whose words and number contradict each other; `unjudged` counts
    groups without a verdict. Tokens and US dollars are means per verdict on a group.
    """

    name: str
    task: str
    judge: str
    form: JudgeForm
    rubric: str
    rubric_text: str
    truth: str
    data_hash: str
    seed: int
    groups: int
    pairs: int
    unjudged: int
    accuracy: Interval
    both_orders: Interval
    kappa: float
    ties: float
    order_consistency: Interval
    first_place: Interval | None
    repeat_stability: Interval
    length_slope: Interval | None
    parse_rate: Interval
    mismatches: Interval | None
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float | None
