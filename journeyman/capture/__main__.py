"""`python -m journeyman.capture --home HOME`: the ingester as a process. It ends when its standard input closes."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path

from journeyman.capture.embedded import ingester_for, run_until
from journeyman.capture.process import suit_ingesting
from journeyman.config import Settings
from journeyman.store.sql import open_store


def main() -> None:
    """Ingest until the standard input closes, or SIGTERM comes; what is in hand is stored first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the installation's home folder")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with contextlib.suppress(OSError):
        os.nice(5)  # answering calls comes first
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=_watch_input, args=(stopping,), daemon=True).start()
    settings = Settings(home=options.home)
    with closing(open_store(settings)) as store, closing(ingester_for(settings, store)) as ingester:
        suit_ingesting()
        run_until(ingester, stopping)


def _watch_input(stopping: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        continue
    stopping.set()


if __name__ == "__main__":
    main()
