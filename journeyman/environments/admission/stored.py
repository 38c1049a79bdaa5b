"""The last admission of each suite, kept in the home folder: a file of JSON that is asked before training."""

import hashlib
import inspect
import re
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from journeyman import __version__
from journeyman.environments.admission.report import Admission
from journeyman.environments.environment import Suite
from journeyman.environments.tasks.drawing import digest
from journeyman.environments.verifying import verifier_of

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


class Standing(NamedTuple):
    """What is known of a suite as it is now: `said` is one line for a person."""

    state: Literal["admitted", "refused", "changed", "unchecked"]
    said: str


def keep(home: Path, admission: Admission) -> Path:
    """Write an admission to the home folder, in place of an earlier one of the same suite."""
    path = _path(home, admission.suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(admission.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def standing_of(home: Path, suite: Suite, address: str) -> Standing:
    """Whether the suite as it is now was admitted, refused, changed since, or never checked."""
    command = f"journeyman env check {address}"
    path = _path(home, suite.name)
    try:
        last = Admission.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Standing("unchecked", f"the environment {suite.name} was never checked: {command}")
    except (OSError, ValidationError) as error:
        return Standing("unchecked", f"{path} cannot be read ({type(error).__name__}), so {suite.name} counts as "
                        f"unchecked: {command}")  # fmt: skip
    if last.fingerprint != fingerprint(suite):
        return Standing("changed", f"the environment {suite.name} changed since it was checked: {command}")
    if last.is_admitted:
        return Standing("admitted", f"the environment {suite.name} was admitted {last.at:%Y-%m-%d}")
    failed = "; ".join(f"{each.check}: {each.detail}" for each in last.failures)
    return Standing("refused", f"the environment {suite.name} failed its check of {last.at:%Y-%m-%d} ({failed})")


def fingerprint(suite: Suite) -> str:
    """Changes with the code of the suite and of its environment, its verifier, its settings, and our own version.

    Of a package of several files all of one folder count; what they import from elsewhere does not.
    """
    verifier = verifier_of(suite)
    scenarios = suite.scenarios("train", 2, 0)
    types = (type(suite), type(suite.environment(scenarios[0])))
    code = sorted({hashed for each in types for hashed in _code_of(each)})
    made = [each.model_dump(mode="json") for each in scenarios]
    return digest([suite.name, verifier.version if verifier else None, __version__, code, made])


def _code_of(of: type) -> list[str]:
    module = sys.modules.get(of.__module__)
    path = Path(inspect.getsourcefile(module) or "") if module is not None else Path()
    if not path.is_file():
        return [of.__qualname__]
    files = sorted(path.parent.glob("*.py")) if (path.parent / "__init__.py").is_file() else [path]
    return [hashlib.sha256(each.read_bytes()).hexdigest() for each in files]


def _path(home: Path, suite: str) -> Path:
    return home / "environments" / f"{_UNFIT.sub('-', suite)}.json"
