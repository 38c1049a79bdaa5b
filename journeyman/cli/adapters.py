"""`journeyman adapters`: see what was trained."""

from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.registry import adapters
from journeyman.store.sql import open_store

app = typer.Typer(help="See which adapters were trained.", no_args_is_help=True)


@app.command("list")
def list_adapters(
    name: Annotated[str | None, typer.Option(help="Only adapters of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show, newest first.")] = 20,
) -> None:
    """List the adapters that were trained, newest first."""
    with closing(open_store(Settings())) as store:
        found = adapters.list_adapters(store, name, limit=limit)
    if not found:
        typer.echo(f"No adapter{f' named {name}' if name else ''} yet. Train one: journeyman train sft DATASET")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("adapter", "id", "trained (UTC)"):
        table.add_column(heading, no_wrap=True)
    table.add_column("base")
    table.add_column("rank", justify="right")
    for heading in ("template", "run"):
        table.add_column(heading)
    for each in found:
        cells = (each.name, each.id, f"{each.at:%Y-%m-%d %H:%M}", each.base, str(each.rank), each.template)
        table.add_row(*(Text(harmless(cell)) for cell in (*cells, each.run_id or "-")))
    Console().print(table)
