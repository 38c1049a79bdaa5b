"""`journeyman adapters export`: an adapter merged into its base, for other programs."""

from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.registry.adapters import check_adapter, find_adapter
from journeyman.store.sql import open_store


def export_command(
    name: Annotated[str, typer.Argument(help="The adapter's name (the newest of that name) or id.")],
    to: Annotated[
        Literal["safetensors", "gguf"], typer.Option(help="A model folder, or one file for llama.cpp.")
    ] = "safetensors",
    out: Annotated[Path | None, typer.Option(help="Where to write it (NAME, or NAME.gguf, in this folder).")] = None,
    precision: Annotated[
        Literal["auto", "float32", "float16", "bfloat16"],
        typer.Option(help="Of the weights that are written; auto is the base's own, in GGUF float16."),
    ] = "auto",
) -> None:
    """Merge an adapter into its base and write the whole model, with its tokenizer and chat template."""
    settings = Settings()
    with closing(open_store(settings)) as store:
        adapter = find_adapter(store, name)
    check_adapter(adapter)
    # torch takes seconds to import: whoever names an adapter that is not there need not wait for it.
    from journeyman.training.export import export_adapter

    target = out or Path(f"{adapter.name}.gguf" if to == "gguf" else adapter.name)
    written = export_adapter(find_model(settings, adapter.base), Path(adapter.path), target, to, precision)
    typer.echo(f"{adapter.name}@{adapter.id}, merged into {adapter.base}: {written}")
