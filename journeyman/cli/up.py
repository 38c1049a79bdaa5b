"""`journeyman up`: the gateway, and an engine behind it, until Ctrl-C."""

from typing import Annotated, Literal

import typer

from journeyman.app import ServingEngine, choose_engine, run, serve
from journeyman.config import Settings
from journeyman.errors import InvalidInput

NO_MODEL = "none"


def up(
    model: Annotated[
        str | None,
        typer.Option(
            help="Base model of the engine: a pulled model's name, a folder, or none. [default: smollm2-135m]"
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="What computes it: local, vllm, or the URL of an engine. [default: local]")
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "int8"] | None,
        typer.Option(help="Numbers that the local engine computes in; int8 is for serving only. [default: auto]"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; it must be a loopback address.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of an engine that is started here.")] = None,
) -> None:
    """Serve the OpenAI API on this machine, capturing every call."""
    given = {"host": host, "port": port, "threads": threads, "engine": engine, "precision": precision}
    settings = Settings().model_copy(update={key: value for key, value in given.items() if value is not None})
    if model == NO_MODEL:
        for option, value in (("--engine", engine), ("--threads", threads), ("--precision", precision)):
            if value is not None:
                raise InvalidInput(f"{option}: with --model none there is no engine; leave one of the two out")
    chosen = None if model == NO_MODEL else choose_engine(settings, model)
    if threads is not None and "://" in settings.engine:
        raise InvalidInput(f"--threads: the engine at {settings.engine} is not started here; leave it out")
    if precision is not None and settings.engine != "local":
        raise InvalidInput(f"--precision: it is the local engine's, and this one is {settings.engine}; leave it out")
    if chosen is not None:
        typer.echo(starting(settings, chosen))
    run(serve(settings, chosen, ready=lambda url: typer.echo(welcome(settings, url, chosen.name if chosen else ""))))
    typer.echo("Stopped; every captured call is stored.")


def starting(settings: Settings, engine: ServingEngine) -> str:
    """What is about to happen, as it may take a while."""
    if "://" in settings.engine:
        return f"Looking at the engine at {settings.engine} …"
    if settings.engine == "vllm":
        return f"Starting vLLM over {engine.name}; this takes from half a minute to some minutes …"
    return f"Starting the engine of {engine.name} …"


def welcome(settings: Settings, url: str, name: str) -> str:
    """What is served where, and a first call to try."""
    providers = ", ".join(f"{provider}/…" for provider in settings.providers) or "none configured"
    example = name or next((f"{provider}/MODEL" for provider in settings.providers), "PROVIDER/MODEL")
    computed = "" if settings.engine == "local" or not name else f" (engine: {settings.engine})"
    return "\n".join(
        [
            f"Journeyman listens on {url}  (OpenAI base URL: {url}/v1)",
            f"  base model  {name or 'none'}{computed}",
            f"  providers   {providers}",
            f"  captures    {settings.home / 'journeyman.db'}",
            "Try:",
            f"  curl {url}/v1/chat/completions -H 'content-type: application/json' \\",
            f'''    -d '{{"model": "{example}", "messages": [{{"role": "user", "content": "Hello"}}]}}' ''',
            "Ctrl-C stops it.",
        ]
    )
