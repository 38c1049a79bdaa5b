"""`journeyman models`: get base models, and see which are here."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.engines import models
from journeyman.errors import ModelFileBroken

app = typer.Typer(help="Get base models, and see which are here.", no_args_is_help=True)


@app.command("pull")
def pull(
    model: Annotated[
        str,
        typer.Argument(help="smollm2-135m, a Hugging Face id, a model folder or a .gguf file.", show_default=False),
    ],
    name: Annotated[
        str | None, typer.Option(help="What to call it; the last part of MODEL in lower case if absent.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A model folder or .gguf file to take it from, instead of looking for it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Get it again, although it is here.")] = False,
) -> None:
    """Get a base model into the model cache."""
    # It needs the extra `train`, which the other commands do without.
    from journeyman.engines.local.models.pull import pull_model

    pull_model(Settings(), model, name=name, source=source, force=force, say=typer.echo)


@app.command("list")
def list_models(
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it with its checksum.")] = False,
) -> None:
    """List the models that are in the cache."""
    settings = Settings()
    found = models.list_models(settings, verify=verify)
    if not found:
        typer.echo(f"No model yet. Get one: journeyman models pull {next(iter(models.CATALOGUE))}")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("model", "size"):
        table.add_column(heading, no_wrap=True)
    table.add_column("context", justify="right", no_wrap=True)
    for heading in ("template", "license", "source"):
        table.add_column(heading)
    for each in found:
        size, context = f"{each.bytes / 1e6:,.0f} MB", f"{each.context:,}" if each.context else "unknown"
        cells = (each.name, size, context, each.template, each.license, each.source)
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    Console().print(table)
    typer.echo(f"in {settings.models}")
    problems = [each.problem for each in found if each.problem]
    if problems:
        raise ModelFileBroken("; ".join(problems))
    if verify:
        typer.echo("All files are the ones that were pulled.")
