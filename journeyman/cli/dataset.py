"""`journeyman dataset`: turn captured calls into versioned rows to learn from."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.captured import open_captured
from journeyman.cli.thread import harmless, print_thread
from journeyman.config import Settings
from journeyman.datasets.build import build_dataset, build_graph, import_dataset
from journeyman.datasets.formats import export_rows
from journeyman.datasets.measures import bar, measure
from journeyman.datasets.nodes import Graph, parse_graph, read_graph
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.engines.models import find_model
from journeyman.errors import InvalidInput
from journeyman.records import Dataset, Filter, Row
from journeyman.records.dataset import NodeRun
from journeyman.store.sql import open_store
from journeyman.store.store import Store

app = typer.Typer(help="Build, show, export and import datasets.", no_args_is_help=True)

_REFERENCE = typer.Argument(help="A dataset's name (the newest version), or name@version.")
_VALIDATION = 0.1
_MOST_REASONS = 8
_NEED_A_GRAPH = {"rate", "near", "prune", "pairs", "label", "good-from", "score"}
"""Options that a source, or a node behind it, carries out."""
_PLAIN_LINES = 20
"""About how many lines a node that asks a model prints."""

ValidationOption = Annotated[float | None, typer.Option(help=f"Share of conversations to hold out ({_VALIDATION}).")]
SeedOption = Annotated[int | None, typer.Option(help="Another seed holds out other conversations (0).")]
BaseOption = Annotated[
    str | None, typer.Option(help="Count tokens as this model does: a pulled model's name, or a folder.")
]


@app.command("build")
def build(
    name: Annotated[str, typer.Argument(help="What to call the dataset.")],
    where: Annotated[str | None, typer.Option(help="Which calls to take, such as 'tags.stage = production'.")] = None,
    graph: Annotated[
        Path | None, typer.Option(help="A TOML file that says what it is made of, step by step, in place of options.")
    ] = None,
    validation: ValidationOption = None,
    seed: SeedOption = None,
    corrections: Annotated[bool, typer.Option(help="Learn the newest correction of a reply in its place.")] = True,
    rate: Annotated[float | None, typer.Option(help="Take only this share of the conversations.")] = None,
    near: Annotated[
        float | None, typer.Option(help="Keep one of conversations that are at least this alike (0.7 to 1).")
    ] = None,
    prune: Annotated[
        list[str] | None, typer.Option(help="Text to remove from prompts, and from those of the adapter; repeatable.")
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="For DPO, ORPO, reward models: corrected replies beside what was corrected.")
    ] = False,
    label: Annotated[
        str | None, typer.Option(help="For KTO: whether a reply was good, by the feedback of this name.")
    ] = None,
    good_from: Annotated[float | None, typer.Option(help="From which value on a --label is good (0.5).")] = None,
    score: Annotated[
        str | None, typer.Option(help="For reward models of scores: the value of the feedback of this name.")
    ] = None,
    base: BaseOption = None,
) -> None:
    """Build a new version from the captured calls that match, or as a file says."""
    settings = Settings()
    options = {
        "where": where, "validation": validation, "seed": seed, "rate": rate, "near": near, "prune": prune,
        "pairs": pairs or None, "label": label, "good-from": good_from, "score": score,
    }  # fmt: skip
    given = {option: value for option, value in options.items() if value not in (None, [])}
    if not corrections:
        given["no-corrections"] = True
    with open_captured(settings) as store:
        folder = settings.home / "datasets"
        if graph is not None:
            if given:
                raise InvalidInput(f"--graph says it all in its file; leave out --{', --'.join(given)}")
            _build_graph(store, settings, name, read_graph(graph), base)
        elif _NEED_A_GRAPH & set(given):
            _build_graph(store, settings, name, _graph_of(given), base)
        else:
            asked = Filter.parse(where or "")
            share = _VALIDATION if validation is None else validation
            _print(build_dataset(store, folder, name, asked, share, seed or 0, corrections=corrections))


@app.command("import")
def import_file(
    name: Annotated[str, typer.Argument(help="What to call the dataset.")],
    path: Annotated[Path, typer.Argument(help="JSON lines in OpenAI's chat fine-tuning format.")],
    validation: ValidationOption = None,
    seed: SeedOption = None,
) -> None:
    """Import a new version from a file."""
    settings = Settings()
    share = _VALIDATION if validation is None else validation
    with closing(open_store(settings)) as store:
        _print(import_dataset(store, settings.home / "datasets", name, path, share, seed or 0))


@app.command("export")
def export(reference: str = _REFERENCE, path: Path = typer.Argument(help="Where to write the file.")) -> None:
    """Write a dataset's rows as JSON lines in OpenAI's chat fine-tuning format."""
    with closing(open_store(Settings())) as store:
        rows = load_rows(find_dataset(store, reference))
    export_rows(rows, path)
    typer.echo(f"{len(rows)} rows written to {path}")


@app.command("list")
def list_datasets() -> None:
    """List all versions of all datasets, newest first."""
    with closing(open_store(Settings())) as store:
        datasets = store.find(Dataset)
    if not datasets:
        typer.echo("No dataset yet. Build one: journeyman dataset build NAME --where FILTER")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("dataset", "time (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("train", "validation", "duplicates", "left out"):
        table.add_column(name, justify="right")
    table.add_column("made from")
    for each in datasets:
        counts = (each.train_rows, each.validation_rows, each.duplicates, each.left_out)
        table.add_row(_title(each), f"{each.at:%Y-%m-%d %H:%M:%S}", *map(str, counts), Text(_made_from(each)))
    Console().print(table)


@app.command("show")
def show(
    reference: str = _REFERENCE,
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show, turn by turn.")] = 1,
    base: BaseOption = None,
) -> None:
    """Show what a dataset holds, in numbers, and its first rows."""
    settings = Settings()
    with closing(open_store(settings)) as store:
        dataset = find_dataset(store, reference)
    _print(dataset)
    for run in dataset.nodes:
        typer.echo(_told(run))
    found = load_rows(dataset)
    _print_measures(found, base, settings)
    console = Console()
    for row in found[:rows]:
        console.print(Text(f"\n{row.split} · conversation {row.conversation} · from {row.source}", style="dim"))
        print_thread(console, row.messages)
        if row.rejected is not None:
            same = [one == other for one, other in zip(row.messages, row.rejected, strict=False)]
            console.print(Text("the worse one, from where it parts", style="dim"))
            print_thread(console, row.rejected[same.index(False) if False in same else len(same) :])


def _build_graph(store: Store, settings: Settings, name: str, graph: Graph, base: str | None) -> None:
    count = _token_counter(base, settings) if base else None
    dataset = build_graph(
        store,
        settings.home / "datasets",
        name,
        graph,
        settings,
        count_tokens=count,
        on_progress=_print_progress,
        on_node=lambda run: typer.echo(_told(run)),
    )
    _print(dataset)


def _graph_of(given: dict[str, Any]) -> Graph:
    """The graph that options describe: the calls, judged, without near duplicates, pruned."""
    source = {"where": given.get("where", ""), "corrections": "no-corrections" not in given}
    source |= _chosen(given, "rate", "pairs", "label", "score")
    if "good-from" in given:
        source["good_from"] = given["good-from"]
    tables: dict[str, Any] = {"source": {"calls": source}}
    last = "calls"
    if "near" in given:
        tables["near"] = {"distinct": {"from": last, "likeness": given["near"]}}
        last = "distinct"
    if "prune" in given:
        tables["prune"] = {"pruned": {"from": last, "texts": given["prune"]}}
        last = "pruned"
    return parse_graph(tables | {"dataset": {"from": last} | _chosen(given, "validation", "seed")}, title="options")


def _chosen(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _token_counter(base: str, settings: Settings) -> Callable[[str], int]:
    # Here, because it needs the training extra, and building a dataset does not.
    from journeyman.rendering.chat import ChatTokenizer

    tokenizer = ChatTokenizer(find_model(settings, base))
    return lambda text: len(tokenizer.encode(text))


def _row_counter(base: str, settings: Settings) -> Callable[[Row], int]:
    from journeyman.rendering.chat import ChatTokenizer

    tokenizer = ChatTokenizer(find_model(settings, base))
    return lambda row: len(tokenizer.encoding(tokenizer.render(row.messages, row.tools, ask_for_reply=False)).ids)


def _print_progress(name: str, done: int, total: int) -> None:
    if done == total or done % max(1, total // _PLAIN_LINES) == 0:
        typer.echo(f"  {name}: {done} of {total} asked", err=True)


def _told(run: NodeRun) -> str:
    """A node's account, on one line and one more for each error."""
    parts = [f"{run.given} in, {run.kept} kept"]
    if run.changed:
        parts.append(f"{run.changed} changed")
    if run.tokens_saved:
        parts.append(f"{run.tokens_saved} prompt tokens saved")
    if run.tokens and run.kind == "source":
        parts.append(f"captured with {run.tokens} tokens ({_money(run.cost_usd)})")
    elif run.tokens:
        parts.append(f"{run.asked} asked now ({_money(run.spent_usd)}); answers in all: {_money(run.cost_usd)}")
    parts += [f"{times} left out: {harmless(reason)}" for reason, times in run.left_out.items()]
    errors = "".join(f"\n    {harmless(error)}" for error in run.errors)
    return f"{'reused' if run.reused else 'ran   '} {run.kind} {run.name}: {'; '.join(parts)}{errors}"


def _money(usd: float | None) -> str:
    return "of unknown price" if usd is None else f"${usd:.4f}"


def _print(dataset: Dataset) -> None:
    typer.echo(
        f"{_title(dataset)}: {dataset.train_rows} rows to train on, {dataset.validation_rows} held out; "
        f"{dataset.duplicates} duplicates dropped, {dataset.left_out} calls left out"
    )
    typer.echo(f"filter: {dataset.where}" if dataset.where is not None else _made_from(dataset))
    typer.echo(f"file:   {dataset.path}")
    reasons = list(dataset.reasons.items())
    for reason, times in reasons[:_MOST_REASONS]:
        typer.echo(f"left out, {times}: {harmless(reason)}")
    if len(reasons) > _MOST_REASONS:
        typer.echo(f"left out, {sum(times for _, times in reasons[_MOST_REASONS:])}: for other reasons")
    if dataset.near_leaks:
        typer.echo(f"near leaks: {dataset.near_leaks} rows to train on are almost a conversation that is held out")
    for text in dataset.pruning:
        typer.echo(f"pruned from prompts, here and when served: {harmless(text)!r}")


def _print_measures(rows: list[Row], base: str | None, settings: Settings) -> None:
    found = measure(rows, _row_counter(base, settings) if base else None)
    lengths = found.lengths
    counted = f"tokens as {base} counts them" if found.exact else "tokens, estimated at four characters each"
    typer.echo(f"{found.conversations} conversations, {lengths.total} {counted}; about {found.learned} of them learned")
    typer.echo(f"a row: median {lengths.median:.0f}, 95% below {lengths.p95:.0f}, longest {lengths.longest}")
    most = max(bucket.rows for bucket in found.histogram)
    for bucket in found.histogram:
        typer.echo(f"{bucket.begin:>8}–{bucket.end - 1:<8} {bucket.rows:>6} {bar(bucket.rows, most)}".rstrip())
    judged = {"beside a worse reply": "rejected", "labelled good or not": "label", "with a score": "score"}
    for said, field in judged.items():
        if times := sum(getattr(row, field) is not None for row in rows):
            good = f", {sum(bool(row.label) for row in rows)} of them good" if field == "label" else ""
            typer.echo(f"{times} rows {said}{good}")
    typer.echo("messages: " + ", ".join(f"{times} {role}" for role, times in found.roles.items()))
    for tool, times in found.rows_offered.items():
        typer.echo(f"tool {harmless(tool)}: offered in {times} rows, called {found.tools.get(tool, 0)} times")


def _made_from(dataset: Dataset) -> str:
    if dataset.where is not None:
        return str(dataset.where)
    return f"graph of {len(dataset.nodes)} nodes" if dataset.nodes else "imported from a file"


def _title(dataset: Dataset) -> str:
    return f"{dataset.name}@{dataset.version}"
