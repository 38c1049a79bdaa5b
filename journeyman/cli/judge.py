"""`journeyman judge`: how far a judge can be trusted, measured before anything rests on its verdicts."""

import asyncio
import random
from contextlib import closing
from pathlib import Path
from typing import Annotated, get_args

import typer

from journeyman.cli.eval import ApiKey, BaseUrl, Concurrency, open_engine, priced_as, print_page
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.evals.playing import find_price
from journeyman.prices import PriceList
from journeyman.records import Interval, JudgeCard, Sampling
from journeyman.records.judging import JudgeForm
from journeyman.rewards.card import measure_card
from journeyman.rewards.judge import Judge
from journeyman.rewards.labelled import SHAPES, Labelled, load_labelled, pairs_of
from journeyman.rewards.listwise import DEFAULT_RUBRIC
from journeyman.rewards.metering import Ceiling
from journeyman.rewards.raters import ListwiseRater, PairwiseRater, PointwiseRater, Rater
from journeyman.store.sql import open_store

app = typer.Typer(no_args_is_help=True, help="Measure judges before anything rests on their verdicts.")


@app.callback()
def _judge() -> None:
    """Measure judges before anything rests on their verdicts."""


@app.command("card")
def card_command(
    data: Annotated[Path, typer.Argument(help="Labelled attempts: JSON lines, or a benchmark's file.")],
    judge: Annotated[str, typer.Option(help="The model that judges.")],
    task: Annotated[str, typer.Option(help="What the attempts are at; a card speaks of one task.")],
    name: Annotated[str | None, typer.Option(help="What a gate calls the card; the task if absent.")] = None,
    form: Annotated[str, typer.Option(help="listwise, as RULER asks; pairwise, as versus; pointwise, as eval.")] = (
        "listwise"
    ),
    rubric: Annotated[Path | None, typer.Option(help="A file with the rubric; listwise has a general one.")] = None,
    shape: Annotated[str | None, typer.Option(help=f"{', '.join(SHAPES)}; told by the fields if absent.")] = None,
    truth: Annotated[str, typer.Option(help="Where the labels come from, such as people or tests.")] = "verified",
    count: Annotated[int | None, typer.Option(min=2, help="Groups, drawn by the seed; all if absent.")] = None,
    seed: Annotated[int, typer.Option(help="Which groups, and in which order their attempts are shown.")] = 0,
    concurrency: Concurrency = 8,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    max_cost: Annotated[float | None, typer.Option(help="US dollars; refused before it costs more.")] = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Ask a judge about attempts whose truth is known, in both orders and once more, and keep its card."""
    settings = Settings()
    if form not in get_args(JudgeForm):
        raise InvalidInput(f"no form {form!r}; there is: {', '.join(get_args(JudgeForm))}")
    wanted = _rubric(rubric, form)
    cases = load_labelled(data, shape)
    cases = cases if form != "pairwise" else pairs_of(cases)
    if count is not None and count < len(cases):
        cases = random.Random(seed).sample(cases, count)
    with closing(open_store(settings)) as store:
        price = find_price(PriceList(settings.prices), judge, priced_as(store, [judge]).get(judge, ()))

        async def measure() -> JudgeCard:
            async with open_engine(settings, base_url, api_key) as engine:
                ceiling = None if max_cost is None else Ceiling(max_cost)
                asked = Judge(engine, judge, price, Sampling(temperature=temperature), ceiling=ceiling)
                return await measure_card(
                    _rater(form, asked, wanted), cases, task=task, name=name, truth=truth, seed=seed,
                    concurrency=concurrency,
                )  # fmt: skip

        card = asyncio.run(measure())
        store.put(card)
    print_page(to_markdown(card, cases))
    typer.echo(f"Card {card.id} kept; a gate asks for it with [judge] card = {card.name!r}")


def to_markdown(card: JudgeCard, cases: list[Labelled]) -> str:
    """The card as a page."""
    rows = [
        ("pairs ordered as the truth does", _share(card.accuracy)),
        ("right whichever is shown first", _share(card.both_orders)),
        ("agreement beyond chance (Cohen's κ)", f"{card.kappa:.2f}"),
        ("ties", f"{100 * card.ties:.1f}%"),
        ("same decision in both orders", _share(card.order_consistency)),
        ("same decision when asked again", _share(card.repeat_stability)),
        ("the one shown first won", _share(card.first_place)),
        ("score for e times as many words, at equal truth", _number(card.length_slope)),
        ("answers that could be read", _share(card.parse_rate)),
        ("words against the number", _share(card.mismatches)),
        ("tokens per verdict", f"{card.prompt_tokens:,.0f} in, {card.completion_tokens:,.0f} out"),
        ("US dollars per 1,000 verdicts", "unknown" if card.cost_usd is None else f"{1000 * card.cost_usd:.4g}"),
    ]
    kinds = len({case.group.scenario.kind for case in cases})
    head = (
        f"# {card.judge} on {card.task}\n\n{card.form}, rubric {card.rubric}; {card.groups} groups of {kinds} kinds, "
        f"{card.pairs} pairs, {card.unjudged} groups unjudged; truth: {card.truth}, data {card.data_hash}, seed "
        f"{card.seed}; intervals are 95%, over groups\n"
    )
    return "\n".join([head, "| what | measured |", "| --- | --- |", *(f"| {what} | {said} |" for what, said in rows)])


def _rubric(file: Path | None, form: str) -> str:
    if file is None:
        if form != "listwise":
            raise InvalidInput(f"a {form} judge goes by a rubric of your own: give --rubric FILE")
        return DEFAULT_RUBRIC
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"the rubric {file} cannot be read: {problem}; nothing was asked") from problem
    if not text:
        raise InvalidInput(f"the rubric {file} is empty; say in it what makes an attempt good")
    return text


def _rater(form: str, judge: Judge, rubric: str) -> Rater:
    if form == "listwise":
        return ListwiseRater(judge, rubric)
    return PairwiseRater(judge, rubric) if form == "pairwise" else PointwiseRater(judge, rubric)


def _share(found: Interval | None) -> str:
    if found is None:
        return "nothing to say"
    return f"{100 * found.estimate:.1f}% ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _number(found: Interval | None) -> str:
    return "nothing to say" if found is None else f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
