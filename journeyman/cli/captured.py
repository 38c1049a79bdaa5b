"""Opens the store for commands that read what was captured: after the ingester has stored it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import typer

from journeyman.capture.catching_up import missing_in_store
from journeyman.config import Settings
from journeyman.store.sql import SqlStore, open_store


@contextmanager
def open_captured(settings: Settings) -> Iterator[SqlStore]:
    """The store with all that was captured before now; standard error is told when something may be missing."""
    missing = missing_in_store(settings.spool)
    if missing is not None:
        typer.echo(missing, err=True)
    with closing(open_store(settings)) as store:
        yield store
