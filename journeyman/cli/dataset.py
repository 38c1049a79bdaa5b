"""`journeyman dataset`: turn captured calls into versioned rows to learn from."""

from contextlib import closing
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import print_thread
from journeyman.config import Settings
from journeyman.datasets.build import build_dataset, import_dataset
from journeyman.datasets.formats import export_rows
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.records import Dataset, Filter
from journeyman.store.sql import open_store

app = typer.Typer(help="Build, show, export and import datasets.", no_args_is_help=True)

_REFERENCE = typer.Argument(help="A dataset's name (the newest version), or name@version.")
_VALIDATION = typer.Option(0.1, help="Share of conversations to hold out.")
_SEED = typer.Option(0, help="Another seed holds out other conversations.")


@app.command("build")
def build(
    name: str = typer.Argument(help="What to call the dataset."),
    where: str = typer.Option("", help="Which calls to take, such as 'tags.stage = production'."),
    validation: float = _VALIDATION,
    seed: int = _SEED,
    corrections: bool = typer.Option(True, help="Learn the newest correction of a reply in its place."),
) -> None:
    """Build a new version from the captured calls that match."""
    settings = Settings()
    with closing(open_store(settings)) as store:
        folder = settings.home / "datasets"
        asked = Filter.parse(where)
        _print(build_dataset(store, folder, name, asked, validation, seed, corrections=corrections))


@app.command("import")
def import_file(
    name: str = typer.Argument(help="What to call the dataset."),
    path: Path = typer.Argument(help="JSON lines in OpenAI's chat fine-tuning format."),
    validation: float = _VALIDATION,
    seed: int = _SEED,
) -> None:
    """Import a new version from a file."""
    settings = Settings()
    with closing(open_store(settings)) as store:
        _print(import_dataset(store, settings.home / "datasets", name, path, validation, seed))


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
    table.add_column("filter")
    for each in datasets:
        counts = (each.train_rows, each.validation_rows, each.duplicates, each.left_out)
        made_from = "imported" if each.where is None else str(each.where)
        table.add_row(_title(each), f"{each.at:%Y-%m-%d %H:%M:%S}", *map(str, counts), Text(made_from))
    Console().print(table)


@app.command("show")
def show(
    reference: str = _REFERENCE,
    rows: int = typer.Option(1, min=0, help="How many rows to show, turn by turn."),
) -> None:
    """Show what a dataset holds, and its first rows."""
    with closing(open_store(Settings())) as store:
        dataset = find_dataset(store, reference)
    _print(dataset)
    console = Console()
    for row in load_rows(dataset)[:rows]:
        console.print(Text(f"\n{row.split} · conversation {row.conversation} · from {row.source}", style="dim"))
        print_thread(console, row.messages)


def _print(dataset: Dataset) -> None:
    typer.echo(
        f"{_title(dataset)}: {dataset.train_rows} rows to train on, {dataset.validation_rows} held out; "
        f"{dataset.duplicates} duplicates dropped, {dataset.left_out} calls left out"
    )
    typer.echo(f"filter: {dataset.where}" if dataset.where is not None else "imported from a file")
    typer.echo(f"file:   {dataset.path}")


def _title(dataset: Dataset) -> str:
    return f"{dataset.name}@{dataset.version}"
