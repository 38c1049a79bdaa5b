"""`python -m journeyman` is `journeyman`."""

from journeyman.cli.main import run

if __name__ == "__main__":
    run()
