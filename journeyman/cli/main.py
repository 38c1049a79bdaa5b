"""The command line: every command, and what a person sees when one fails.

Commands import what needs torch inside themselves, so that `journeyman --help` answers at once.
"""

import sys
from typing import Annotated

import typer

from journeyman import __version__
from journeyman.cli import (
    adapters,
    comply,
    dataset,
    env,
    feedback,
    judge,
    keys,
    models,
    template,
    traces,
    train,
    usage,
    users,
    world,
)
from journeyman.cli.demo import demo_command
from journeyman.cli.eval import eval_command
from journeyman.cli.forget import forget_command
from journeyman.cli.ingest import ingest_command
from journeyman.cli.label import label_command
from journeyman.cli.payback import payback_command
from journeyman.cli.promote import aliases_command, promote_command, rollback_command
from journeyman.cli.train_logs import train_logs as _train_logs  # noqa: F401, it adds itself to `train`
from journeyman.cli.train_rl import train_rl as _train_rl  # noqa: F401, it adds itself to `train`
from journeyman.cli.transfer import app as export_app
from journeyman.cli.transfer import import_command
from journeyman.cli.up import up
from journeyman.cli.versus import versus_command
from journeyman.errors import JourneymanError

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells count it."""

app = typer.Typer(
    name="journeyman",
    help="Let an LLM agent learn from its own work: capture, teach, measure, serve, promote.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo_command)
app.add_typer(models.app, name="models")
app.command("up")(up)
app.add_typer(keys.app, name="keys")
app.add_typer(traces.app, name="traces")
app.add_typer(feedback.app, name="feedback")
app.add_typer(usage.app, name="usage")
app.command("ingest")(ingest_command)
app.command("import")(import_command)
app.add_typer(export_app, name="export")
app.command("forget")(forget_command)
app.add_typer(dataset.app, name="dataset")
app.add_typer(template.app, name="template")
app.add_typer(train.app, name="train")
app.add_typer(env.app, name="env")
app.add_typer(users.app, name="users")
app.add_typer(world.app, name="world")
app.command("eval")(eval_command)
app.command("versus")(versus_command)
app.command("label")(label_command)
app.add_typer(judge.app, name="judge")
app.add_typer(comply.app, name="comply")
app.command("payback")(payback_command)
app.add_typer(adapters.app, name="adapters")
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("aliases")(aliases_command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"journeyman {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a command."""


def run() -> None:
    """What `journeyman` in a shell calls: an error we know becomes one line, any other one says that it is a bug."""
    try:
        app()
    except JourneymanError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        package = _missing_package(error)
        if package:
            print(
                f"error: this needs the package {package}, which is not installed; nothing was done. Install what "
                "training, the local engine and the demo need: pip install 'journeyman[train,demo]'",
                file=sys.stderr,
            )
            sys.exit(1)
        print("This is a bug in Journeyman; what was captured and stored before is safe. Its trace:", file=sys.stderr)
        raise


def _missing_package(error: Exception) -> str | None:
    """The package of others, an extra's, whose absence is the error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    return package if package != "journeyman" else None
