"""`journeyman payback`: what it takes from the store, what it asks for, and what it refuses."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from journeyman.cli.payback import payback_command
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Adapter, CaseResult, EvalReport, Exchange, Message, ModelReport, Usage, now
from journeyman.statistics import proportion
from journeyman.store.sql import open_store

app = typer.Typer()
app.command()(payback_command)

Command = Callable[..., Result]
NUMBERS = ("--calls", "500000", "--prompt-tokens", "1800", "--completion-tokens", "200")


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in a home folder where 41 calls of gpt-4.1 were captured over ten days."""
    monkeypatch.setenv("COLUMNS", "200")
    with_calls = open_store(Settings())
    for number in range(41):
        with_calls.put(
            Exchange(
                at=now() - timedelta(days=number / 4),
                model="openai/gpt-4.1",
                served="gpt-4.1",
                upstream="openai",
                state="complete",
                session=f"s{number // 4}",
                messages=(Message(role="system", content="rules " * 50), Message(role="user", content=str(number))),
                usage=Usage(prompt_tokens=1800, completion_tokens=200, cached_prompt_tokens=0),
            )
        )
    with_calls.put(Adapter(id="a1", name="bank-1", base="smollm2-135m", rank=8, path="p", template="1"))
    with_calls.close()
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def answer(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.exception
    found = json.loads(result.output)
    assert isinstance(found, dict)
    return found


def test_captured_traffic_is_measured(command: Command) -> None:
    """40 calls after the first in ten days: 121.75 a month; $5.20 for 1,000 of them."""
    found = answer(command("openai/gpt-4.1", "--student", "bank-1", "--format", "json"))
    ranges = found["ranges"]
    assert isinstance(ranges, dict)
    assert ranges["calls"]["likely"] == pytest.approx(40 * 365.25 / 120, rel=1e-4)
    assert ranges["calls"]["source"] == "measured ×÷ 1.5"
    assert ranges["teacher"]["likely"] == pytest.approx(0.0052)
    assert ranges["student"]["likely"] == pytest.approx((1800 * 0.02 + 200 * 0.06) / 1e6)
    assert found["verdict"] == "do not fine-tune"


def test_given_numbers_need_no_traffic(command: Command) -> None:
    exact = ("--upfront", "9060", "--upkeep", "500", "--months", "6", "--gap", "0")
    found = answer(command("gpt-4.1", "--student", "gpt-4.1-nano", *NUMBERS, *exact, "--format", "json"))
    assert found["break_even"] == pytest.approx(2010 / (0.0052 - 0.00026))
    page = command("gpt-4.1", "--student", "gpt-4.1-nano", *NUMBERS, *exact).output
    assert "| break-even volume, calls a month | 406,883 |" in page


def test_the_reports_gap_counts(command: Command) -> None:
    """The teacher solves 30 of 40, the student 20, each of which the teacher solves, too: 25 points."""
    kept = EvalReport(
        suite="bank", seed=1, differences=(),
        models=(measured("openai/gpt-4.1", 30), measured("bank-1", 20), measured("openai/gpt-4.1-mini", 29)),
    )  # fmt: skip
    store = open_store(Settings())
    store.put(kept)
    store.close()
    asked = ("openai/gpt-4.1", "--student", "bank-1", "--report", kept.id, *NUMBERS, "--format", "json")
    refused = command(*asked)
    assert isinstance(refused.exception, InvalidInput)
    assert "--loss-per-error" in str(refused.exception)
    found = answer(command(*asked, "--loss-per-error", "0.01"))
    assert found["gap_known"] is True
    assert found["ranges"]["gap"]["likely"] == pytest.approx(0.25)  # type: ignore[index]
    others = {each["name"]: each["gap"] for each in found["alternatives"]}  # type: ignore[attr-defined]
    assert others["smaller stock model openai/gpt-4.1-mini"] == pytest.approx(1 / 40)
    both = command(*asked, "--loss-per-error", "0.01", "--gap", "0.1")
    assert isinstance(both.exception, InvalidInput)


def test_an_own_processor_is_paid_by_the_hour(command: Command) -> None:
    hourly = ("--gpu-hour", "2", "--upfront", "9060", "--upkeep", "500", "--months", "6", "--gap", "0")
    found = answer(command("gpt-4.1", *NUMBERS, *hourly, "--format", "json"))
    assert found["break_even"] == pytest.approx((2010 + 1460) / 0.0052)


def test_the_page_can_go_into_a_file(command: Command, tmp_path: Path) -> None:
    told = command("gpt-4.1", *NUMBERS, "--out", str(tmp_path / "page.md"))
    assert "not clear yet." in told.output or "do not fine-tune." in told.output
    assert (tmp_path / "page.md").read_text().startswith("# smollm2-135m in place of gpt-4.1: ")


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (("gpt-9", *NUMBERS), InvalidInput, "gpt-9 has no price"),
        (("gpt-9",), InvalidInput, "no complete call of gpt-9"),
        (("gpt-4.1", "--prompt-tokens", "9", "--completion-tokens", "9"), InvalidInput, "give --calls"),
        (("gpt-4.1", *NUMBERS, "--student", "tiny"), InvalidInput, "tiny has no price"),
        (("gpt-4.1", *NUMBERS, "--gap", "0.1"), InvalidInput, "--loss-per-error"),
        (("gpt-4.1", *NUMBERS, "--gap", "lots"), InvalidInput, "--gap: 'lots'"),
        (("gpt-4.1", *NUMBERS, "--fallback", "2"), InvalidInput, "fallback"),
        (("gpt-4.1", *NUMBERS, "--peak", "2"), InvalidInput, "--gpu-hour"),
        (("gpt-4.1", *NUMBERS, "--report", "none"), NotFound, "report"),
        (("gpt-4.1", *NUMBERS, "--smaller", "gpt-9"), InvalidInput, "gpt-9 has no price"),
    ],
)
def test_what_cannot_be_reckoned_is_refused(
    command: Command, arguments: tuple[str, ...], kind: type[Exception], says: str
) -> None:
    refused = command(*arguments)
    assert isinstance(refused.exception, kind)
    assert says in str(refused.exception)


def measured(model: str, solved: int) -> ModelReport:
    cases = tuple(
        CaseResult(
            scenario_id=f"case-{number}", kind="balance", success=number < solved, reason="", turns=1, prompt_tokens=1,
            completion_tokens=1, cost_usd=None, latency=0.1, session=f"{model}-{number}",
        )
        for number in range(40)
    )  # fmt: skip
    return ModelReport(
        model=model, success=proportion(solved, 40), turns=1, prompt_tokens=1, completion_tokens=1,
        cost_usd_per_thousand=None, latency_p50=0.1, latency_p95=0.1, errors=0, cases=cases,
    )  # fmt: skip
