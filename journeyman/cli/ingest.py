"""`journeyman ingest`: brings what is in the spool into the store, where no gateway is running that does."""

import json
from contextlib import closing
from typing import Annotated

import typer

from journeyman.capture.embedded import ingester_for, options_for
from journeyman.capture.ingest import StoreDown
from journeyman.capture.parsing import PARSER
from journeyman.capture.rereading import reread
from journeyman.config import Settings
from journeyman.errors import UpstreamFailed
from journeyman.store.sql import open_store


def ingest_command(
    again: Annotated[
        bool, typer.Option("--again", help="also read the archived raw calls again, where an older parser read them")
    ] = False,
    all_again: Annotated[
        bool, typer.Option("--all-again", help="read all archived raw calls again, such as after a new redaction rule")
    ] = False,
) -> None:
    """Store what programs have captured in-process; `journeyman up` does so by itself."""
    settings = Settings()
    settings.spool.mkdir(parents=True, exist_ok=True)
    with closing(open_store(settings)) as store, closing(ingester_for(settings, store)) as ingester:
        try:
            done = ingester.run_once()
        except StoreDown as down:
            raise UpstreamFailed(
                f"the store takes nothing: {down}; what was captured waits in {settings.spool}"
            ) from down
        typer.echo(f"{done} records stored\n{json.dumps(ingester.report())}")
        if not (again or all_again):
            return
        older_than = None if all_again else PARSER
        found = reread(settings.spool, store, options_for(settings, store), older_than=older_than)
        typer.echo(
            f"{found.replaced} calls read again and replaced; {found.same} were as they should be, "
            f"{found.absent} are not in the store any more"
        )
        for problem in found.unreadable:
            typer.echo(problem, err=True)
