"""Several models meet the same cases; what each did is counted, priced and compared."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from journeyman.engines.engine import Reply
from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.environment import Observation
from journeyman.errors import InvalidInput, NotFound
from journeyman.evals import evaluate
from journeyman.prices import cost_usd
from journeyman.records import EvalReport, Message, Sampling, Scenario, Score, Usage
from journeyman.records.message import assistant, user


class Sum:
    """Asks for one sum; even sums are one kind, odd ones the other."""

    def __init__(self, scenario: Scenario) -> None:
        self.question, self.answer = scenario.data["question"], scenario.data["answer"]
        self.said = ""

    async def start(self) -> Observation:
        return Observation(messages=(user(self.question),))

    async def step(self, reply: Message) -> Observation:
        self.said = reply.text
        return Observation(done=True)

    def fork(self, n: int) -> Sequence["Sum"]:
        raise NotImplementedError

    def score(self) -> tuple[Score, ...]:
        right = self.said == self.answer
        return (Score(name="success", value=float(right), reason="right" if right else f"said {self.said!r}"),)

    async def close(self) -> None:
        pass


class Sums:
    name = "sums"

    def scenarios(self, split: str, count: int, seed: int) -> Sequence[Scenario]:
        return [
            Scenario(
                id=f"sum-{split}-{seed}-{i}",
                environment=self.name,
                kind="odd" if i % 2 else "even",
                data={"question": f"{i}+0", "answer": str(i)},
            )
            for i in range(count)
        ]

    def environment(self, scenario: Scenario) -> Sum:
        return Sum(scenario)


def perfect(messages: Sequence[Message], _: object) -> Message:
    return assistant(messages[0].text.removesuffix("+0"))


def even_only(messages: Sequence[Message], _: object) -> Message:
    number = int(messages[0].text.removesuffix("+0"))
    return assistant(str(number if number % 2 == 0 else "?"))


def breaks_on_seven(messages: Sequence[Message], _: object) -> Message:
    if messages[0].text == "7+0":
        raise InvalidInput("seven is too much")
    return perfect(messages, _)


class Players:
    """Several scripted models behind one engine; remembers what it was asked."""

    def __init__(self, **scripts: Callable[[Sequence[Message], object], Message]) -> None:
        self.engines = {name: ScriptedEngine(script) for name, script in scripts.items()}
        self.asked: list[tuple[str, str, Sampling, dict[str, str] | None]] = []

    async def reply(
        self, model: str, messages: Sequence[Message], tools: Any = (), sampling: Sampling = Sampling(), **call: Any
    ) -> Reply:
        self.asked.append((model, messages[0].text, sampling, call.get("tags")))
        if model not in self.engines:
            raise NotFound("model", model, self.engines)
        return await self.engines[model].reply(model, messages, tools, sampling)


@pytest.fixture
def players() -> Players:
    return Players(even=even_only, perfect=perfect, fragile=breaks_on_seven)


async def test_every_model_meets_the_same_cases_in_the_same_order(players: Players) -> None:
    report = await evaluate(Sums(), ["even", "perfect"], players, count=20, seed=3)
    expected = [scenario.id for scenario in Sums().scenarios("held-out", 20, 3)]
    for model in report.models:
        assert [case.scenario_id for case in model.cases] == expected
    assert len({case.session for model in report.models for case in model.cases}) == 40
    assert (report.suite, report.seed, report.split) == ("sums", 3, "held-out")
    assert {tags["stage"] for _, _, _, tags in players.asked if tags} == {"eval"}


async def test_success_and_paired_differences_are_counted(players: Players) -> None:
    report = await evaluate(Sums(), ["even", "perfect"], players, count=20, seed=3)
    even, best = report.models
    assert (even.success.estimate, best.success.estimate) == (0.5, 1.0)
    (difference,) = report.differences
    assert (difference.model, difference.baseline) == ("perfect", "even")
    assert (difference.fixed, difference.broken) == (10, 0)
    assert difference.difference.estimate == 0.5
    assert difference.difference.low > 0
    assert even.cases[1].reason == "said '?'"


async def test_the_first_model_is_the_baseline_and_every_pair_comes_on_request(players: Players) -> None:
    models = ["even", "perfect", "fragile"]
    plain = await evaluate(Sums(), models, players, count=4, seed=1)
    assert _pairs(plain) == [("perfect", "even"), ("fragile", "even")]
    every = await evaluate(Sums(), models, players, count=4, seed=1, every_pair=True)
    assert _pairs(every) == [("perfect", "even"), ("fragile", "even"), ("fragile", "perfect")]


async def test_an_error_is_a_failed_case_and_is_counted(players: Players) -> None:
    report = await evaluate(Sums(), ["fragile"], players, count=10, seed=1)
    (fragile,) = report.models
    assert fragile.errors == 1
    assert fragile.success.estimate == 0.9
    broken = fragile.cases[7]
    assert not broken.success
    assert "seven is too much" in (broken.error or "")


async def test_a_model_that_does_not_exist_stops_everything_after_one_case(players: Players) -> None:
    with pytest.raises(NotFound, match=r"'typo'.*even, fragile, perfect"):
        await evaluate(Sums(), ["perfect", "typo"], players, count=50, seed=1)
    assert sum(model == "perfect" for model, *_ in players.asked) == 1


async def test_a_conversation_that_is_refused_at_once_does_not_look_like_an_absent_model() -> None:
    players = Players(fragile=lambda messages, _: breaks_on_seven([user("7+0")], _))
    report = await evaluate(Sums(), ["fragile"], players, count=3, seed=1)
    assert (report.models[0].errors, report.models[0].latency_p50) == (3, None)


async def test_tokens_are_means_and_money_is_for_a_thousand_conversations(players: Players) -> None:
    report = await evaluate(Sums(), ["even", "perfect"], players, count=10, seed=1, priced_as={"even": ("gpt-4.1",)})
    priced, unpriced = report.models
    tokens = Usage(
        prompt_tokens=sum(case.prompt_tokens for case in priced.cases),
        completion_tokens=sum(case.completion_tokens for case in priced.cases),
    )
    assert priced.prompt_tokens == tokens.prompt_tokens / 10
    assert priced.completion_tokens == tokens.completion_tokens / 10
    paid = cost_usd("gpt-4.1", tokens)
    assert paid
    assert priced.cost_usd_per_thousand == pytest.approx(100 * paid)
    assert unpriced.cost_usd_per_thousand is None
    assert report.prices_as_of


async def test_a_providers_model_is_priced_by_the_name_after_the_slash() -> None:
    players = Players(**{"openai/gpt-4.1": perfect})
    report = await evaluate(Sums(), ["openai/gpt-4.1"], players, count=2, seed=1)
    assert report.models[0].cost_usd_per_thousand is not None


async def test_progress_reaches_the_end_for_every_model(players: Players) -> None:
    seen: list[tuple[str, int, int]] = []
    await evaluate(Sums(), ["even", "perfect"], players, count=5, seed=1, on_progress=lambda *told: seen.append(told))
    for model in ("even", "perfect"):
        assert [done for name, done, total in seen if name == model and total == 5] == [1, 2, 3, 4, 5]


async def test_sampling_reaches_the_engine_and_the_report(players: Players) -> None:
    sampling = Sampling(temperature=0.7, max_tokens=5)
    report = await evaluate(Sums(), ["perfect"], players, count=2, seed=1, sampling=sampling, concurrency=2)
    assert all(asked == sampling for _, _, asked, _ in players.asked)
    assert (report.sampling, report.concurrency) == (sampling, 2)


async def test_a_report_survives_json(players: Players) -> None:
    report = await evaluate(Sums(), ["even", "fragile"], players, count=10, seed=1)
    assert EvalReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("models", "options", "complaint"),
    [
        ([], {}, "at least one"),
        (["even", "even"], {}, "once"),
        (["even"], {"count": 0}, "at least 1"),
        (["even"], {"concurrency": 0}, "at least 1"),
        (["even"], {"priced_as": {"other": ("gpt-4.1",)}}, "other"),
    ],
)
async def test_what_cannot_be_measured_is_refused(
    players: Players, models: list[str], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        await evaluate(Sums(), models, players, seed=1, **options)
    assert players.asked == []


def _pairs(report: EvalReport) -> list[tuple[str, str]]:
    return [(difference.model, difference.baseline) for difference in report.differences]
