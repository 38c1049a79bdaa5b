"""`journeyman versus`: two models answer the same cases, and a judge compares the answers in both orders."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from journeyman.cli.eval import (
    ApiKey,
    BaseUrl,
    Cases,
    Concurrency,
    Count,
    Environment,
    Fresh,
    MaxTokens,
    Out,
    Retries,
    Seed,
    Split,
    Temperature,
    find_suite,
    number_of_cases,
    open_engine,
    open_judge,
    priced_as,
    print_page,
    settle,
    show_progress,
    stands_for,
    telling_how_to_go_on,
)
from journeyman.config import Settings
from journeyman.errors import InvalidInput
from journeyman.evals import Journal, save_versus, versus, versus_to_markdown
from journeyman.evals.versus import RUBRIC
from journeyman.prices import PriceList
from journeyman.records import Sampling
from journeyman.records.evaluation import VersusReport
from journeyman.store.sql import open_store
from journeyman.store.store import Store


def versus_command(
    model: Annotated[str, typer.Argument(help="The model whose wins are counted.")],
    opponent: Annotated[str, typer.Argument(help="The model that it is compared with.")],
    judge: Annotated[str, typer.Option(help="The model that compares the answers; neither of the two.")],
    environment: Environment = None,
    cases: Cases = None,
    rubric: Annotated[Path | None, typer.Option(help="A file that says what makes an answer better.")] = None,
    count: Count = None,
    seed: Seed = 1,
    split: Split = "held-out",
    concurrency: Concurrency = 8,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="Ask and judge only until it is known which is better.")
    ] = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = None,
    retries: Retries = 2,
    fresh: Fresh = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    out: Out = None,
) -> None:
    """Compare two models head to head: wins, ties and losses in a judge's eyes, with intervals."""
    settings, names = Settings(), [model, opponent]
    suite = find_suite(environment, cases)
    wanted = RUBRIC if rubric is None else _read(rubric)
    folder = out or settings.home / "evals"

    async def measure(store: Store, journal: Journal) -> VersusReport:
        async with open_engine(settings, base_url, api_key) as engine:
            judging = open_judge(engine, judge, store, settings)
            assert judging is not None
            with show_progress([*names, "judged"]) as show:
                return await versus(
                    suite, model, opponent, engine, judging, rubric=wanted, count=number_of_cases(count, suite),
                    seed=seed, split=split, concurrency=concurrency,
                    sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
                    prices=PriceList(settings.prices), priced_as=priced_as(store, names), retries=retries,
                    stop_early=stop_early, journal=journal, stands_for=stands_for(store, names), on_progress=show,
                )  # fmt: skip

    with closing(open_store(settings)) as store, closing(Journal(folder, fresh=fresh)) as journal:
        with telling_how_to_go_on(journal):
            report = asyncio.run(measure(store, journal))
        page, data = save_versus(report, folder, journal.finished)
        settle(journal, page, report.unjudged > 0)
    print_page(versus_to_markdown(report))
    typer.echo(f"The report is in {page} and {data}, with .html beside them")


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as problem:
        raise InvalidInput(f"the rubric {file} cannot be read: {problem}; nothing was evaluated") from problem
    if not text:
        raise InvalidInput(f"the rubric {file} is empty; say in it what makes an answer better")
    return text
