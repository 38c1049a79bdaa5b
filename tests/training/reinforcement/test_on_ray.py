"""Attempts and judging on a cluster of two nodes: the same run by a setting, losses by name. Needs Ray.

`pip install '.[ray]'`; skipped, and said so, where it is not installed.
"""

import asyncio
import importlib.util
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from journeyman.cli.main import app
from journeyman.config import Settings
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.waiting import RolloutProgress
from journeyman.errors import InvalidInput, Refused
from journeyman.records import Message, Sampling, Scenario, Score, TrajectoryGroup
from journeyman.rewards.reward import score_by_part
from journeyman.store.sql import open_store
from journeyman.training.reinforcement.on_ray import RewardOnRay, ray_cluster, require_ray, roll_out_on_ray
from journeyman.training.reinforcement.scoring import score_groups
from tests.training.reinforcement.conftest import LetterSuite, _Letters, make_groups

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'"
)
ROOT = Path(__file__).parent.parent.parent.parent
MODULE = "tests.training.reinforcement.test_on_ray"
SMALL = (
    "rl", f"{MODULE}:PlacedSuite", "--base", "tiny", "--rank", "4", "--scenarios", "3", "--attempts", "4",
    "--new-tokens", "6", "--max-calls", "1", "--steps", "2", "--learning-rate", "0.01", "--evaluate-scenarios", "2",
    "--evaluate-every", "0", "--precision", "float32", "--threads", "1", "--reward", f"{MODULE}:letters",
)  # fmt: skip
DIES, DIES_ONCE = "dies", "dies once"


class Placed(_Letters):
    """Says on which node it was played; one kind takes its process with it."""

    def __init__(self, scenario: Scenario, sign: str = "") -> None:
        super().__init__(scenario)
        self._sign = sign

    async def step(self, reply: Message) -> Any:
        _die(self._sign)
        return await super().step(reply)

    def fork(self, n: int) -> "list[Placed]":
        return [Placed(self._scenario, self._sign) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
        return (*super().score(), Score(name="node", value=0.0, reason=node))


def _die(sign: str) -> None:
    """End the process: always, or where the sign is the path of no file yet."""
    if sign == DIES:
        os._exit(1)
    if sign and not Path(sign).exists():
        Path(sign).touch()
        os._exit(1)


class PlacedSuite(LetterSuite):
    def __init__(self, signs: dict[str, str] | None = None) -> None:
        self.signs = signs or {}

    def environment(self, scenario: Scenario) -> Placed:
        return Placed(scenario, self.signs.get(scenario.id, ""))


class Letters:
    """The true reward, as a judge in a process of its own; it knows how often it was asked."""

    name = "letters"

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, group: TrajectoryGroup) -> list[Score | None]:
        self.asked += 1
        if group.scenario.kind == "dear":
            raise Refused("the ceiling of 5 US dollars leaves no room")
        return [
            Score(name="letters", value=each.score("reward"), reason=str(self.asked)) for each in group.trajectories
        ]


letters = Letters()


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    """The address of a cluster of two nodes with a CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def connected(two_nodes: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_ADDRESS", two_nodes)
    with ray_cluster():
        yield


def make() -> Letters:
    return Letters()


@needs_ray
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_groups_are_played_on_both_nodes_and_are_what_they_would_be_here(connected: None, tiny: Path, tmp_path: Path):
    suite = PlacedSuite({"train-0-4": DIES, "train-0-5": str(tmp_path / DIES_ONCE)})
    scenarios = suite.scenarios("train", 6, 0)
    limits, progress = RolloutLimits(max_calls=1, seconds_per_episode=120), RolloutProgress()
    shared = {"attempts": 3, "limits": limits, "seed": 5, "concurrency": 6, "tags": {}}
    sampling = Sampling(temperature=1.0, max_tokens=6)

    async def play() -> tuple[list[TrajectoryGroup], list[TrajectoryGroup]]:
        process = EngineProcess.local(tiny, "tiny", tmp_path, threads=1, precision="float32")
        async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
            there = await roll_out_on_ray(suite, scenarios, engine, "tiny", sampling, progress=progress, **shared)
            here = await roll_out_groups(PlacedSuite(), scenarios, engine, "tiny", sampling, **shared)
            return there, here

    there, here = asyncio.run(play())
    assert [group.scenario.id for group in there] == [each.id for each in scenarios]
    for number, (one, other) in enumerate(zip(there, here, strict=True)):
        assert len(one.trajectories) == 3
        if number == 4:
            assert all("WorkerCrashedError" in str(each.error) for each in one.trajectories)
            continue
        assert [each.tokens for each in one.trajectories] == [each.tokens for each in other.trajectories]
        assert all(each.error is None and each.tokens for each in one.trajectories)
    assert (tmp_path / DIES_ONCE).exists(), "its process died, and the group was played again"
    nodes = {each.reason for group in there for one in group.trajectories for each in one.scores if each.name == "node"}
    assert len(nodes) == 2
    assert (progress.total, progress.done, progress.failed, progress.waits) == (18, 18, 3, [])


@needs_ray
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_judge_on_ray_is_one_judge_and_loses_groups_by_the_same_names(connected: None, policy: Any):
    groups = make_groups(policy, scenarios=3)
    dear = groups[2].scenario.model_copy(update={"kind": "dear"})
    groups[2] = groups[2].model_copy(update={"scenario": dear})

    async def judge() -> tuple[Any, Any]:
        reward = RewardOnRay(make)
        scored = await score_groups(reward, groups)
        return scored, await score_by_part(reward, groups[0])

    scored, again = asyncio.run(judge())
    assert scored.lost == [None, None, "Refused of the reward: the ceiling of 5 US dollars leaves no room"]
    assert [len(each) for each in scored.rewards] == [4, 4, 4]
    assert {score.reason for score in again["letters"]} == {"4"}, "one process counts all questions"


@needs_ray
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_run_on_ray_comes_to_the_same_weights(
    two_nodes: str, home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JOURNEYMAN_MODELS", str(tiny.parent))
    monkeypatch.setenv("RAY_ADDRESS", two_nodes)
    monkeypatch.chdir(ROOT)
    made = []
    for name, more in (("here", ()), ("there", ("--cluster", "ray"))):
        result = CliRunner().invoke(app, ["train", *SMALL, "--name", name, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        made.append(result.output.partition("Trained ")[2].partition(":")[0])
    # An adapter is known by the hash of its weights: the second run's are the first one's.
    assert made[0].startswith("here@")
    assert made[1] == made[0]
    with closing(open_store(Settings())) as store:
        from journeyman.records import Trajectory

        kept = store.find(Trajectory, limit=1000)
    nodes = {score.reason for each in kept for score in each.scores if score.name == "node"}
    assert len(nodes - {""}) == 2


def test_without_the_package_it_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"--cluster ray needs .* pip install 'journeyman\[ray\]'"):
        require_ray()
