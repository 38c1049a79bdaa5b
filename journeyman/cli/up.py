"""`journeyman up`: the gateway, and the local engine behind it, until Ctrl-C."""

from typing import Annotated

import typer

from journeyman.app import run, serve
from journeyman.config import Settings
from journeyman.engines.models import find_model

NO_MODEL = "none"


def up(
    model: Annotated[
        str, typer.Option(help="Base model of the local engine: a pulled model's name, a folder, or none.")
    ] = "smollm2-135m",
    host: Annotated[str | None, typer.Option(help="Address to listen on; it must be a loopback address.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the local engine.")] = None,
) -> None:
    """Serve the OpenAI API on this machine, capturing every call."""
    given = {"host": host, "port": port, "threads": threads}
    settings = Settings().model_copy(update={key: value for key, value in given.items() if value is not None})
    folder = None if model == NO_MODEL else find_model(settings, model)
    name = folder.name if folder else ""
    if folder:
        typer.echo(f"Starting the engine of {name} …")
    run(serve(settings, folder, name, ready=lambda url: typer.echo(welcome(settings, url, name))))
    typer.echo("Stopped; every captured call is stored.")


def welcome(settings: Settings, url: str, name: str) -> str:
    """What is served where, and a first call to try."""
    providers = ", ".join(f"{provider}/…" for provider in settings.providers) or "none configured"
    example = name or next((f"{provider}/MODEL" for provider in settings.providers), "PROVIDER/MODEL")
    return "\n".join(
        [
            f"Journeyman listens on {url}  (OpenAI base URL: {url}/v1)",
            f"  base model  {name or 'none'}",
            f"  providers   {providers}",
            f"  captures    {settings.home / 'journeyman.db'}",
            "Try:",
            f"  curl {url}/v1/chat/completions -H 'content-type: application/json' \\",
            f'''    -d '{{"model": "{example}", "messages": [{{"role": "user", "content": "Hello"}}]}}' ''',
            "Ctrl-C stops it.",
        ]
    )
