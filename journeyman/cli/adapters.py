"""`journeyman adapters`: see what was trained, and from what."""

from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from journeyman.cli.export_adapter import export_command
from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.registry import adapters
from journeyman.registry.family import Branch, family_tree
from journeyman.store.sql import open_store

app = typer.Typer(help="See which adapters were trained.", no_args_is_help=True)
app.command("export")(export_command)


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


@app.command("tree")
def tree_command() -> None:
    """Show which adapter was trained on from which, and the aliases that each answers to."""
    with closing(open_store(Settings())) as store:
        trees = family_tree(store)
    if not trees:
        typer.echo("No adapter yet. Train one: journeyman train sft DATASET")
        return
    console = Console()
    for base, branches in trees.items():
        tree = Tree(Text(harmless(base)))
        for branch in branches:
            _grow(tree, branch)
        console.print(tree)


def _grow(tree: Tree, branch: Branch) -> None:
    adapter = branch.adapter
    line = f"{adapter.name} ({adapter.id}) {adapter.at:%Y-%m-%d %H:%M}, rank {adapter.rank}"
    if branch.aliases:
        line += f" ← {', '.join(branch.aliases)}"
    if branch.lost_parent:
        line += f" (trained on from {branch.lost_parent}, which is known no more)"
    under = tree.add(Text(harmless(line)))
    for child in branch.children:
        _grow(under, child)
