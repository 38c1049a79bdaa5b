"""`journeyman template`: whether a model's chat template can be trained on and served with, before hours are spent."""

from typing import Annotated

import typer

from journeyman.cli.thread import harmless
from journeyman.config import Settings
from journeyman.engines.models import find_model

app = typer.Typer(help="Check the chat template of a model.", no_args_is_help=True)

FAULTY = 1
"""Exit code when training on the template would be wrong."""


@app.command("check")
def check_command(model: Annotated[str, typer.Argument(help="A pulled model, or a model folder.")]) -> None:
    """Check that what is trained is what is served; name the template's line at each fault. 1 when there is a fault."""
    from journeyman.rendering.chat import ChatTokenizer
    from journeyman.rendering.contract import contract

    tokenizer = ChatTokenizer(find_model(Settings(), model))
    found = contract(tokenizer)
    for finding in found:
        where = f"line {finding.line}" if finding.line else "in no one line"
        typer.echo(f"{'fault' if finding.fault else 'note '}  {finding.rule}, {where}: {harmless(finding.message)}")
        if finding.excerpt:
            typer.echo(f"       {harmless(finding.excerpt)}")
    faults = sum(finding.fault for finding in found)
    shown = harmless(tokenizer.folder.name)
    if faults:
        typer.echo(f"{shown}, template {tokenizer.template.version}: {faults} faults. Repair them before you train.")
        raise typer.Exit(FAULTY)
    typer.echo(f"{shown}, template {tokenizer.template.version}: may be trained on ({len(found)} notes).")
