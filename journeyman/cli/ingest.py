"""`journeyman ingest`: brings what is in the spool into the store, where no gateway is running that does."""

import json
from contextlib import closing

import typer

from journeyman.capture.embedded import ingester_for
from journeyman.capture.ingest import StoreDown
from journeyman.config import Settings
from journeyman.errors import UpstreamFailed
from journeyman.store.sql import open_store


def ingest_command() -> None:
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
