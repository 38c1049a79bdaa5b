"""What was not tested for lack of something on this machine: said in red at the end, whichever process found out."""

from typing import NoReturn

import pytest

_ABSENT = pytest.StashKey[dict[str, str]]()


def skip_for_lack_of(what: str, reason: str, config: pytest.Config) -> NoReturn:
    """Skip this test; the end of the run names what was not tested, and why."""
    found = config.stash.setdefault(_ABSENT, {})
    found[what] = reason
    # One of several processes tells the one that writes the summary.
    if hasattr(config, "workeroutput"):
        config.workeroutput["absent"] = found
    pytest.skip(f"NOT TESTED: {reason}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    config = node.config  # type: ignore[attr-defined]
    config.stash.setdefault(_ABSENT, {}).update(getattr(node, "workeroutput", {}).get("absent", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, reason in config.stash.get(_ABSENT, {}).items():
        terminalreporter.write_sep("!", f"NOT TESTED: {what}", red=True, bold=True)
        terminalreporter.write_line(reason, red=True)
