"""The gates in front of a promotion: what each asks of a candidate, read from a file of the user's repository.

A gate that has nothing to measure by is closed: nothing unmeasured is let through.
"""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from journeyman.errors import InvalidInput
from journeyman.registry.gate_table import GateTable
from journeyman.registry.policy import Policy

FILE = "journeyman-gates.toml"

Increase = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Gain(GateTable):
    """The success rate on held-out cases, against what answers now."""

    margin: float = Field(0.0, ge=-1, lt=1, allow_inf_nan=False)
    """The 95% interval of the paired difference must lie above it; 0.02 is two points. Below 0: at most this worse."""
    min_cases: int = Field(1, ge=1)


class Protected(GateTable):
    """Cases of which none may be lost that the incumbent solves."""

    kinds: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    """Scenario ids."""


class Cost(GateTable):
    """Bounds of what 1,000 conversations cost."""

    max_usd_per_thousand: Amount | None = None
    max_increase: Increase | None = None
    """Over the incumbent's: 0.1 is a tenth more."""


class Latency(GateTable):
    """Bounds of the 95th percentile of the seconds that a model call takes."""

    max_p95_seconds: Amount | None = None
    max_increase: Increase | None = None
    """Over the incumbent's: 0.1 is a tenth more."""


class Compliance(GateTable):
    """A suite of which every case must succeed: the newest report of it in the store, or one in a file."""

    suite: str | None = None
    report: Path | None = None
    """An evaluation's JSON file; relative to the gates' own file."""
    max_age_days: Days | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Compliance":
        if (self.suite is None) == (self.report is None):
            raise ValueError("give either suite (a report in the store) or report (a file)")
        return self


class Judge(GateTable):
    """The judge whose verdicts the evidence rests on must itself be measured, under the very rubrics it went by."""

    card: str
    """What its cards are called (`journeyman judge card --name`)."""
    min_accuracy: float = Field(0.5, ge=0, lt=1, allow_inf_nan=False)
    """The 95% interval of the pairs that it orders rightly must lie above it; 0.5 is what a coin would reach."""
    max_age_days: Days | None = None


class Gates(GateTable):
    """What is asked before an alias moves; without a file, a gain on held-out cases alone."""

    gain: Gain = Gain()
    protected: Protected | None = None
    cost: Cost | None = None
    latency: Latency | None = None
    compliance: Compliance | None = None
    judge: Judge | None = None
    policy: Policy | None = None


def find_gates(folder: Path) -> Path | None:
    """The gates' file of `folder`, else of the repository that it is in: in a folder above it, up to the root."""
    above = [folder, *folder.parents]
    root = next((place for place, each in enumerate(above) if (each / ".git").exists()), 0)
    return next((each / FILE for each in above[: root + 1] if (each / FILE).is_file()), None)


def read_gates(file: Path) -> Gates:
    """The gates of a file; InvalidInput names the key that is wrong, and then no gate is taken from it."""
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
        gates = Gates.model_validate(written)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"the gates in {file} cannot be read ({error}); nothing was promoted") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidInput(
            f"the gates in {file}: {key}: {first['msg']}; docs/guides/promotion.md lists what a gate may ask. "
            "Nothing was promoted"
        ) from error
    if gates.compliance and gates.compliance.report:
        report = file.parent / gates.compliance.report
        gates = gates.model_copy(update={"compliance": gates.compliance.model_copy(update={"report": report})})
    if gates.policy:
        last = gates.policy.last_release
        places = {
            "report": file.parent / gates.policy.report,
            "key": gates.policy.key and file.parent / gates.policy.key,
            "last_release": last and last.model_copy(update={"report": file.parent / last.report}),
        }
        gates = gates.model_copy(update={"policy": gates.policy.model_copy(update=places)})
    return gates
