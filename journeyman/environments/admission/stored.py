"""The last admission of each suite, kept in the home folder: a file of JSON that is asked before training."""

import hashlib
import inspect
import re
import sys
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, cast, runtime_checkable

from pydantic import ValidationError

from journeyman import __version__
from journeyman.environments.admission.report import Admission
from journeyman.environments.admission.transcripts import attempted
from journeyman.environments.ensemble import EnsembleSuite
from journeyman.environments.environment import Suite
from journeyman.environments.tasks.drawing import digest
from journeyman.environments.verifying import verifier_of

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


@runtime_checkable
class Built(Protocol):
    """What a suite has besides that was built of data, as a world is of traces: its answers are no code's."""

    @property
    def content(self) -> str:
        """A hash of everything in that data that its episodes depend on."""
        ...


class Standing(NamedTuple):
    """What is known of a suite as it is now: `said` is one line for a person."""

    state: Literal["admitted", "refused", "rebuilt", "changed", "unchecked"]
    said: str

    @property
    def forbids(self) -> bool:
        """Whether it is known to be wrong, or what was found to be right is not there any more."""
        return self.state in ("refused", "rebuilt")


def keep(home: Path, admission: Admission) -> Path:
    """Write an admission to the home folder, in place of an earlier one of the same suite."""
    path = _path(home, admission.suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(admission.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def standing_of(home: Path, suite: Suite, address: str) -> Standing:
    """Whether the suite as it is now was admitted or refused, was built anew or changed since, or never checked."""
    command = f"journeyman env check {address}"
    path = _path(home, suite.name)
    try:
        last = Admission.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Standing("unchecked", f"the environment {suite.name} was never checked: {command}")
    except (OSError, ValidationError) as error:
        return Standing("unchecked", f"{path} cannot be read ({type(error).__name__}), so {suite.name} counts as "
                        f"unchecked: {command}")  # fmt: skip
    content = content_of(suite)
    if last.content is not None and last.content != content:
        return Standing("rebuilt", f"{suite.name} was built again since its check of {last.at:%Y-%m-%d}, and how it "
                        f"answers now was not checked: {command}")  # fmt: skip
    if (last.fingerprint, last.content) != (fingerprint(suite), content):
        return Standing("changed", f"the environment {suite.name} changed since it was checked: {command}")
    if last.is_admitted:
        return Standing("admitted", f"the environment {suite.name} was admitted {last.at:%Y-%m-%d}")
    failed = "; ".join(f"{each.check}: {each.detail}" for each in last.failures)
    return Standing("refused", f"the environment {suite.name} failed its check of {last.at:%Y-%m-%d} ({failed})")


def fingerprint(suite: Suite) -> str:
    """Changes with the code of the suite and of its environment, its verifier, its settings, and our own version.

    Of a package of several files all of one folder count; what they import from elsewhere does not. An ensemble's
    changes with each member's.
    """
    verifier = verifier_of(suite)
    scenarios = suite.scenarios("train", 2, 0)
    types = (type(suite), type(suite.environment(scenarios[0])))
    code = sorted({hashed for each in types for hashed in _code_of(each)})
    made = [attempted(each) for each in scenarios]
    members = [fingerprint(each) for each in _members(suite)]
    return digest([suite.name, verifier.version if verifier else None, __version__, code, made, *members])


def content_of(suite: Suite) -> str | None:
    """What `Built` says of the suite, or of an ensemble's members together; None where none was built of data."""
    if isinstance(suite, EnsembleSuite):
        found = {each.name: content_of(each) for each in suite.members}
        return digest(found) if any(found.values()) else None
    return cast(Built, suite).content if isinstance(suite, Built) else None


def _members(suite: Suite) -> tuple[Suite, ...]:
    return suite.members if isinstance(suite, EnsembleSuite) else ()


def _code_of(of: type) -> list[str]:
    module = sys.modules.get(of.__module__)
    path = Path(inspect.getsourcefile(module) or "") if module is not None else Path()
    if not path.is_file():
        return [of.__qualname__]
    files = sorted(path.parent.glob("*.py")) if (path.parent / "__init__.py").is_file() else [path]
    return [hashlib.sha256(each.read_bytes()).hexdigest() for each in files]


def _path(home: Path, suite: str) -> Path:
    return home / "environments" / f"{_UNFIT.sub('-', suite)}.json"
