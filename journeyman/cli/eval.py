"""`journeyman eval`: the same held-out conversations for several models, and how sure we are of the difference."""

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from journeyman.config import Settings
from journeyman.engines.provider import ProviderEngine
from journeyman.environments.environment import Suite
from journeyman.errors import InvalidInput, NotFound
from journeyman.evals import evaluate, save, to_markdown
from journeyman.records import EvalReport, Sampling
from journeyman.registry.adapters import lookup
from journeyman.registry.resolve import last_promotion
from journeyman.store.sql import open_store
from journeyman.store.store import Store

SUITES = {"bank": "journeyman.demos.bank.environment:BankSuite"}


def eval_command(
    environment: Annotated[str, typer.Option(help="bank, or module:attribute of a suite of your own.")],
    models: Annotated[str, typer.Option(help="Names joined by commas; the first is the baseline.")],
    count: Annotated[int, typer.Option(min=1, help="Conversations for each model.")] = 100,
    seed: Annotated[int, typer.Option(help="Which conversations; the same seed gives the same ones.")] = 1,
    split: Annotated[str, typer.Option(help="held-out, or train to look for overfitting.")] = "held-out",
    concurrency: Annotated[int, typer.Option(min=1, help="Conversations at a time.")] = 8,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest reply; the model's own limit if absent.")
    ] = None,
    every_pair: Annotated[bool, typer.Option("--every-pair", help="Compare each model with each.")] = False,
    base_url: Annotated[str | None, typer.Option(help="Where the models answer; the local gateway if absent.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", show_envvar=True, help="Sent to --base-url when it is given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; `evals` in the home folder if absent.")
    ] = None,
) -> None:
    """Measure models on the same conversations: success, tokens, cost and latency, with intervals."""
    settings = Settings()
    suite = load_suite(environment)
    names = [name.strip() for name in models.split(",") if name.strip()]
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    address = base_url or f"http://{settings.host}:{settings.port}/v1"

    async def measure(prices: Mapping[str, str]) -> EvalReport:
        async with ProviderEngine(address, api_key if base_url else None, settings.upstream_timeout) as engine:
            with _progress(names) as show:
                return await evaluate(
                    suite,
                    names,
                    engine,
                    count=count,
                    seed=seed,
                    split=split,
                    concurrency=concurrency,
                    sampling=sampling,
                    every_pair=every_pair,
                    priced_as=prices,
                    on_progress=show,
                )

    with closing(open_store(settings)) as store:
        report = asyncio.run(measure(priced_as(store, names)))
        page, data = save(report, store, out or settings.home / "evals")
    _print_report(report)
    typer.echo(f"Report {report.id} kept; also in {page} and {data}")


def load_suite(name: str) -> Suite:
    """The suite called `name`: one of our own, or `module:attribute`, a suite or a class that makes one."""
    address = SUITES.get(name, name)
    module_name, colon, attribute = address.partition(":")
    if not colon:
        raise NotFound("environment", name, SUITES, "A suite of your own is written module:attribute")
    if address == name and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"cannot load the environment {name}: {error}; nothing was evaluated") from error
    suite = found() if isinstance(found, type) else found
    if not all(hasattr(suite, member) for member in ("name", "scenarios", "environment")):
        raise InvalidInput(f"{name} is no suite: it needs a `name`, `scenarios(…)` and `environment(…)`")
    return cast(Suite, suite)


def priced_as(store: Store, models: Sequence[str]) -> Mapping[str, str]:
    """Each model that is an adapter, or an alias of one, costs what its base costs."""
    prices = {}
    for model in models:
        promotion = last_promotion(store, model)
        adapter = lookup(store, promotion.target if promotion else model)
        if adapter:
            prices[model] = adapter.base
    return prices


@contextmanager
def _progress(models: Sequence[str]) -> Iterator[Callable[[str, int, int], None]]:
    """One live line for each model: how many conversations are done, and how long it has taken."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        lines = {model: bars.add_task(model, total=None) for model in dict.fromkeys(models)}
        yield lambda model, done, total: bars.update(lines[model], completed=done, total=total)


def _print_report(report: EvalReport) -> None:
    """Laid out on a terminal; plain Markdown into a pipe or a file."""
    console, page = Console(), to_markdown(report)
    console.print(Markdown(page)) if console.is_terminal else typer.echo(page)
