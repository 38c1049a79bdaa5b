"""Runs a server that is not ours so that it behaves like our own engine: `python -m journeyman.engines.leash`.

It gets a free port where its arguments say `{port}`; `ready URL` is printed once its health route answers. When our
standard input closes, or we are asked to end, all of its processes end with it: some servers leave theirs behind, at
full speed.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

_ASK_EVERY = 0.5
_ASK_SECONDS = 5.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A proxy of the environment has nothing to do with a server on this machine."""


def main() -> None:
    """Run the command after `--` until it ends, or until we are to end."""
    parser = argparse.ArgumentParser(prog="journeyman.engines.leash", description=__doc__)
    parser.add_argument("--health", default="/health", help="route that answers 200 once the server serves")
    parser.add_argument("--grace", type=float, default=10.0, help="seconds in which the server may end by itself")
    parser.add_argument("command", nargs="+", help="the server's command; {port} stands for the port it is to take")
    options = parser.parse_args()
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    url = f"http://127.0.0.1:{_free_port()}"
    command = [argument.replace("{port}", url.rpartition(":")[2]) for argument in options.command]
    # Its words belong into the log: our own standard output carries nothing but `ready`.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    asked_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked_to_end.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_input, args=(asked_to_end,), daemon=True).start()
    threading.Thread(target=_announce, args=(url, options.health, server), daemon=True).start()
    while server.poll() is None and not asked_to_end.wait(0.2):
        continue
    if server.poll() is not None:
        sys.exit(server.returncode if server.returncode > 0 else 1)
    _end(server, options.grace)


def _end(server: subprocess.Popen[bytes], grace: float) -> None:
    """Ask the server, then kill whatever is left of our group: itself, what it started, and us."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server.terminate()
    try:
        server.wait(grace)
    except subprocess.TimeoutExpired:
        print(f"did not end within {grace:g} s and was killed", file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGKILL)


def _end_with_input(asked_to_end: threading.Event) -> None:
    # Not sys.stdin: a thread that waits there would make the interpreter abort when it exits.
    while os.read(0, 4096):
        continue
    asked_to_end.set()


def _announce(url: str, health: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        if _is_well(url + health):
            print(f"ready {url}", flush=True)
            return
        time.sleep(_ASK_EVERY)


def _is_well(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=_ASK_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
