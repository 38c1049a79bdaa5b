"""`journeyman train rl`, as a person at a terminal meets it: a run, a look before it, cuts, and wrong options."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.cli.train_rl import algorithm_of, line_of
from journeyman.config import Settings
from journeyman.errors import InvalidInput, NotFound
from journeyman.records import Filter, Point, Run, Trajectory
from journeyman.records.algorithm import ALGORITHMS
from journeyman.registry.adapters import find_adapter
from journeyman.store.sql import SqlStore, open_store
from journeyman.training.reinforcement.step_report import RLStepReport

SUITE = "tests.training.reinforcement.conftest:LetterSuite"
SMALL = (
    "rl", SUITE, "--base", "tiny", "--name", "letters", "--rank", "4", "--scenarios", "2", "--attempts", "4",
    "--new-tokens", "6", "--max-calls", "1", "--steps", "3", "--learning-rate", "0.01", "--evaluate-scenarios", "3",
    "--precision", "float32", "--threads", "1",
)  # fmt: skip
ROOT = Path(__file__).parent.parent.parent


ANCHORED = (
    *SMALL, "--anchor", "tests.training.reinforcement.till:RealSuite", "--anchor-share", "0.5", "--audited", "2",
    "--canaries", "3",
)  # fmt: skip


@pytest.fixture
def store(home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tiny.parent))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(ROOT)
    with closing(open_store(Settings())) as opened:
        yield opened


def train(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["train", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_the_line_of_a_step_says_how_many_attempts_a_world_could_not_judge() -> None:
    def line(values: dict[str, float]) -> str:
        return line_of(RLStepReport(2, 5, 0.25, 0.0, 0.5, 1, 4, 60.0, {"sample": 3.0}, values))

    assert line({"unknown": 3.0}) == (
        "step 2/5  reward 0.25 [0.00, 0.50]  1 of 4 groups silent  3 abstained from, counted as worst  sample 3s"
    )
    assert "abstained" not in line({})


def test_a_run_prints_its_equation_and_keeps_attempts_curves_and_an_adapter(store: SqlStore) -> None:
    written = train(*ANCHORED, "--algorithm", "dapo", "--set", "refills=0", "--set", "clip_high=0.3")
    assert "−min(ρ·A, clip(ρ, 1 − 0.2, 1 + 0.3)·A)" in written
    assert (
        len(re.findall(r"^step \d/3 +reward 0\.\d\d \[.*groups silent.*sampler gap [\d.]+e-0\d", written, re.MULTILINE))
        == 3
    )
    adapter = find_adapter(store, "letters")
    assert f"Trained letters@{adapter.id}: held-out reward 0." in written
    (run,) = store.find(Run)
    points = {point.step: point.values for point in store.find(Point)}
    assert points.keys() == {0, 1, 2, 3}
    assert "held-out reward" in points[0]
    assert "held-out reward" in points[3]
    assert points[2]["sampler gap"] < 1e-4
    assert len(store.find(Trajectory)) == 24
    anchored = store.find(Trajectory, Filter.parse("tags.lane = anchor"))
    assert {each.tags["environment"] for each in anchored} == {"real"}
    assert len(anchored) == 12
    assert all("gap" in points[step] and "audited" in points[step] for step in (1, 2, 3))
    assert run.config["algorithm"]["clip_high"] == 0.3
    assert not (Path(run.path) / "checkpoints").exists()
    report = (Path(run.path) / "report.md").read_text()
    assert "| step | reward | 95% interval | greedy |" in report
    assert "clip(ρ, 1 − 0.2, 1 + 0.3)" in report
    assert "Nothing: every attempt was." in report
    assert "- canary flatterer: won 0 of 3" in report
    assert "- wins replayed in the real system: " in report
    assert not (Settings().home / "adapters" / "steps" / run.id).exists()
    listed = train("list")
    assert "finished" in listed


def test_two_processes_share_the_updates_of_a_run(store: SqlStore) -> None:
    written = train(*SMALL, "--processes", "2", "--steps", "2")
    assert written.count("sampler gap") == 2
    assert find_adapter(store, "letters").base == "tiny"
    (run,) = store.find(Run)
    assert run.config["processes"] == 2


def test_a_look_before_samples_and_trains_nothing(store: SqlStore) -> None:
    written = train(*SMALL, "--dry-run")
    assert re.search(r"(fine|look) +reward 0\.\d\d \[.*attempts differ in [12] of 2 groups", written)
    assert "every attempt is one row" in written
    assert "⟦" in written
    assert "canaries: null won 0 of 8" in written
    assert written.endswith("Nothing was trained.\n")
    assert not store.find(Run)
    assert not store.find(Trajectory)


def test_a_look_before_forbids_what_cannot_teach(store: SqlStore) -> None:
    written = train(*SMALL, "--dry-run", "--reward", "success", "--new-tokens", "1", code=1)
    assert "STOP" in written
    assert "every attempt earns nothing: take easier scenarios" in written


def test_a_run_goes_on_from_an_adapter(store: SqlStore) -> None:
    train(*SMALL, "--name", "first", "--alpha", "9", "--steps", "1")
    first, (taught,) = find_adapter(store, "first"), store.find(Run)
    shapeless = (*SMALL[:6], *SMALL[8:])
    train(*shapeless, "--name", "second", "--from", "first", "--steps", "1")
    second, rehearsed = find_adapter(store, "second"), store.find(Run)[0]
    assert (second.parent, second.rank, second.base) == (first.id, 4, "tiny")
    assert second.id != first.id
    assert (rehearsed.config["from_adapter"], rehearsed.config["alpha"]) == (first.id, 9)
    # The same weights, at the same scenarios under the same seeds.
    ended = store.get(Point, f"{taught.id}-{1:08d}")
    began = store.get(Point, f"{rehearsed.id}-before")
    assert ended is not None
    assert began is not None
    assert began.values["held-out reward"] == ended.values["held-out reward"]
    with pytest.raises(InvalidInput, match=r"a shape of its own; leave out --rank \(it has 4\)"):
        train(*shapeless, "--from", "first", "--rank", "2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(store: SqlStore, number: signal.Signals) -> None:
    train(*SMALL)
    whole = find_adapter(store, "letters")
    command = [sys.executable, "-m", "journeyman", "train", *SMALL[:5], "cut", *SMALL[6:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert process.stdout is not None
    with process, process.stdout as output:
        for line in output:
            if line.startswith("step 1/3"):
                process.send_signal(number)
                break
        output.read()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    written = train("rl", "--resume", "last")
    assert "step 3/3" in written
    # What is told of a step comes before its checkpoint: a kill between the two does the step again, alike.
    assert "step 1/3" not in written or number == signal.SIGKILL
    # An adapter is known by the hash of its weights: the same ones are registered once.
    assert f"Trained letters@{whole.id}" in written
    ids = [each.id for each in store.find(Trajectory)]
    assert len(ids) == len(set(ids)) == 48


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("rl",), "what to attempt"),
        (("rl", "casino"), "casino"),
        ((*SMALL, "--attempts", "1"), "compares attempts at one scenario"),
        ((*SMALL, "--dropout", "0.1"), "leave out --dropout"),
        ((*SMALL, "--anchor", SUITE), "nothing to hold it against"),
        ((*SMALL, "--full"), "full fine-tuning has no adapter"),
        (("rl", SUITE, "--base", "tiny", "--full"), "leave out --full"),
        ((*SMALL, "--algorithm", "ppp"), "there is no algorithm ppp"),
        ((*SMALL, "--set", "clip=1"), "it is written field=value"),
        ((*SMALL, "--set", "clip_low=2"), "less than or equal to 1"),
        ((*SMALL, "--reward", "nowhere:reward"), "cannot load the reward"),
        ((*SMALL, "--resume", "last"), "leave out"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(
    store: SqlStore, arguments: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises((InvalidInput, NotFound), match=complaint):
        train(*arguments)
    assert not store.find(Run)


def test_presets_can_be_changed_term_by_term() -> None:
    changed = algorithm_of("ppo", ["critic.smoothing=1", "critic.value_clip=none", "updates=2"])
    assert changed.critic is not None
    assert (changed.critic.smoothing, changed.critic.value_clip, changed.updates) == (1.0, None, 2)
    assert ALGORITHMS["ppo"].updates == 1
