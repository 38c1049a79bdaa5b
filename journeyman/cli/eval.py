"""`journeyman eval`: the same cases for several models, and how sure we are of the difference."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from journeyman.config import Settings
from journeyman.engines.engine import Engine
from journeyman.engines.provider import ProviderEngine
from journeyman.environments.environment import Suite
from journeyman.environments.suites import load_suite
from journeyman.errors import InvalidInput
from journeyman.evals import CaseSuite, Journal, Judge, evaluate, load_cases, save, to_markdown
from journeyman.evals.playing import find_price
from journeyman.prices import PriceList
from journeyman.records import Adapter, EvalReport, Sampling
from journeyman.registry.adapters import lookup
from journeyman.registry.resolve import last_promotion
from journeyman.store.sql import open_store
from journeyman.store.store import Store

Environment = Annotated[
    str | None, typer.Option(help="bank, or module:attribute of a suite of your own, in place of --cases.")
]
Cases = Annotated[
    Path | None, typer.Option(help="A suite of cases: a .jsonl or .toml file, or a folder of such files.")
]
Count = Annotated[int | None, typer.Option(min=1, help="Conversations for each model; 100, or all of --cases.")]
Seed = Annotated[int, typer.Option(help="Which conversations; the same seed gives the same ones.")]
Split = Annotated[str, typer.Option(help="held-out, or train to look for overfitting.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Conversations at a time.")]
Temperature = Annotated[float, typer.Option(min=0, help="0 is greedy.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest reply; the model's own limit if absent.")]
Retries = Annotated[int, typer.Option(min=0, help="Further tries of a call that the upstream failed at.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start again, where an interrupted run could be gone on with.")]
BaseUrl = Annotated[str | None, typer.Option(help="Where the models answer; the local gateway if absent.")]
ApiKey = Annotated[
    str | None, typer.Option(envvar="OPENAI_API_KEY", show_envvar=True, help="Sent to --base-url when it is given.")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the report; `evals` in the home folder if absent.")]


def eval_command(
    models: Annotated[str, typer.Option(help="Names joined by commas; the first is the baseline.")],
    environment: Environment = None,
    cases: Cases = None,
    judge: Annotated[str | None, typer.Option(help="The model that judges cases with a rubric.")] = None,
    count: Count = None,
    seed: Seed = 1,
    split: Split = "held-out",
    concurrency: Concurrency = 8,
    attempts: Annotated[int, typer.Option(min=1, help="Tries of each case; needs a temperature above 0.")] = 1,
    stop_early: Annotated[
        bool, typer.Option("--stop-early", help="Compare two models only until it is known which is better.")
    ] = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = None,
    every_pair: Annotated[bool, typer.Option("--every-pair", help="Compare each model with each.")] = False,
    max_cost: Annotated[float | None, typer.Option(help="US dollars; stops before it costs more.")] = None,
    retries: Retries = 2,
    fresh: Fresh = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    out: Out = None,
) -> None:
    """Measure models on the same conversations: success, tokens, cost and latency, with intervals."""
    settings = Settings()
    names = [name.strip() for name in models.split(",") if name.strip()]
    suite = find_suite(environment, cases)
    folder = out or settings.home / "evals"

    async def measure(store: Store, journal: Journal) -> EvalReport:
        priced = priced_as(store, names)
        async with open_engine(settings, base_url, api_key) as engine:
            judging = open_judge(engine, judge, store, settings)
            with show_progress(names) as show:
                return await evaluate(
                    suite, names, engine, count=number_of_cases(count, suite), seed=seed, split=split,
                    concurrency=concurrency, attempts=attempts, stop_early=stop_early,
                    sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
                    every_pair=every_pair, prices=PriceList(settings.prices), priced_as=priced, judge=judging,
                    ceiling_usd=max_cost, retries=retries, journal=journal, stands_for=stands_for(store, names),
                    on_progress=show,
                )  # fmt: skip

    with closing(open_store(settings)) as store, closing(Journal(folder, fresh=fresh)) as journal:
        with telling_how_to_go_on(journal):
            report = asyncio.run(measure(store, journal))
        page, data = save(report, store, folder, journal.finished)
        settle(journal, page, bool(report.left))
    print_page(to_markdown(report))
    typer.echo(f"Report {report.id} kept; also in {page} and {data}, with .html and .xml beside them")


def find_suite(environment: str | None, cases: Path | None) -> Suite:
    """The suite that was asked for: an environment's, or one of cases in files."""
    if (environment is None) == (cases is None):
        raise InvalidInput("name what to measure: either --environment, or --cases with a file or a folder of cases")
    return load_suite(environment) if environment is not None else load_cases(cast(Path, cases))


def number_of_cases(count: int | None, suite: Suite) -> int:
    """What was asked for; else every case of a suite that has an end, and 100 of one that makes them up."""
    return count or (len(suite) if isinstance(suite, CaseSuite) else 100)


def open_engine(settings: Settings, base_url: str | None, api_key: str | None) -> ProviderEngine:
    """The server that answers for the models; a key is sent only to a server that was named."""
    address = base_url or f"http://{settings.host}:{settings.port}/v1"
    return ProviderEngine(address, api_key if base_url else None, settings.upstream_timeout)


def open_judge(engine: Engine, model: str | None, store: Store, settings: Settings) -> Judge | None:
    """The judge, which answers where the models do; it is priced like them."""
    if model is None:
        return None
    names = priced_as(store, [model]).get(model, ())
    return Judge(engine, model, find_price(PriceList(settings.prices), model, names))


def priced_as(store: Store, models: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Each model that is an adapter, or an alias of one, costs what its base costs, or a price of its own."""
    found = {model: _adapter(store, model) for model in models}
    return {model: (adapter.base, adapter.id, adapter.name) for model, adapter in found.items() if adapter}


def stands_for(store: Store, models: Sequence[str]) -> Mapping[str, str]:
    """Which adapter or model each name answers as now."""
    found = {}
    for model in models:
        promotion, adapter = last_promotion(store, model), _adapter(store, model)
        found[model] = adapter.id if adapter else promotion.target if promotion else model
    return found


@contextmanager
def telling_how_to_go_on(journal: Journal) -> Iterator[None]:
    """Say what an interruption has left."""
    try:
        yield
    except BaseException:
        if journal.path is not None and journal.finished:
            kept = len(journal.finished)
            typer.echo(f"{kept} finished cases are kept; run the same command again to go on from there", err=True)
        raise


def settle(journal: Journal, page: Path, unfinished: bool) -> None:
    """Keep the conversations beside the report; what a ceiling has cut short stays, so that it can go on."""
    if not unfinished:
        journal.keep_as(page.with_suffix(".transcripts.jsonl"))


@contextmanager
def show_progress(lines: Sequence[str]) -> Iterator[Callable[[str, int, int], None]]:
    """One live line for each model: how many conversations are done, and how long it has taken."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {line: bars.add_task(line, total=None) for line in dict.fromkeys(lines)}
        yield lambda line, done, total: bars.update(tasks[line], completed=done, total=total)


def print_page(page: str) -> None:
    """Laid out on a terminal; plain Markdown into a pipe or a file."""
    console = Console()
    console.print(Markdown(page)) if console.is_terminal else typer.echo(page)


def _adapter(store: Store, model: str) -> Adapter | None:
    promotion = last_promotion(store, model)
    return lookup(store, promotion.target if promotion else model)
