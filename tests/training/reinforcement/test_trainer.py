"""Whole runs on a tiny model, sampled by the real engine in its own process."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import torch

from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.supervisor import SupervisedEngine
from journeyman.errors import InvalidInput, UpstreamFailed
from journeyman.records.algorithm import ALGORITHMS, Algorithm
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rewards.reward import each
from journeyman.rewards.rules import own_score
from journeyman.training.reinforcement.canary import SamplerDisagrees
from journeyman.training.reinforcement.trainer import ReinforcementTrainer, Task
from journeyman.training.reinforcement.watching import RewardHacked
from tests.training.reinforcement.conftest import LetterSuite, make_rl_config


@asynccontextmanager
async def serving(tiny, home):
    process = EngineProcess.local(tiny, "tiny", home, threads=1, precision="float32")
    async with SupervisedEngine(process) as running, HeldEngine(running) as engine:
        yield engine


def pays_for_length(trajectory):
    """A judge with a planted fault: whatever is long is good."""
    return min(len(trajectory.messages[-1].text) / 30, 1.0)


def played(tiny, tmp_path, run="run", kept=None, stop_after=None, reward=None, start=None, **fields):
    """The reports of a run, its trainer, and how it does in the end."""

    async def play():
        async with serving(tiny, tmp_path) as engine:
            task = Task(LetterSuite(), reward or own_score("reward"), engine, tmp_path / "adapters" / run)
            keep = (lambda found: None) if kept is None else kept.extend
            config = make_rl_config(**fields)
            trainer = ReinforcementTrainer(config, task, tiny, tmp_path / run, start=start, keep=keep)
            reports = []

            def log(report):
                reports.append(report)
                if report.step == stop_after:
                    raise KeyboardInterrupt

            try:
                await trainer.train(log)
            except KeyboardInterrupt:
                return reports, trainer, None
            return reports, trainer, await trainer.held_out()

    return asyncio.run(play())


LEARNING = {"steps": 12, "scenarios": 4, "attempts": 8, "learning_rate": 0.02}


@pytest.mark.parametrize("algorithm", ["cispo", "dapo", "ppo"])
def test_a_tiny_model_learns(tiny, tmp_path, algorithm):
    kept = []
    reports, _, held_out = played(tiny, tmp_path, kept=kept, algorithm=ALGORITHMS[algorithm], **LEARNING)
    assert len(reports) == 12
    first, last = reports[0].reward, reports[-1].reward
    assert last > first + 0.15
    assert held_out.mean > first + 0.15
    assert max(report.values["sampler gap"] for report in reports) < 1e-4
    assert len({each.id for each in kept}) == len(kept) >= 12 * 32
    assert all(each.score("reward") == pytest.approx(each.scores[0].value) for each in kept)


def test_a_run_that_was_stopped_ends_like_one_that_was_not(tiny, tmp_path):
    _, whole, _ = played(tiny, tmp_path, "whole", steps=4, learning_rate=0.01)
    reports, _, _ = played(tiny, tmp_path, "cut", steps=4, learning_rate=0.01, stop_after=2)
    assert len(reports) == 2
    more, cut, _ = played(tiny, tmp_path, "cut", steps=4, learning_rate=0.01)
    assert [report.step for report in more] == [3, 4]
    assert all(torch.equal(value, cut.policy.masters[name]) for name, value in whole.policy.masters.items())


def test_a_run_from_an_adapter_that_was_stopped_is_still_held_to_where_it_began(tiny, tmp_path, policy):
    start = tmp_path / "start"
    start.mkdir()
    policy.save_adapter(start, ChatTokenizer(tiny).template)
    algorithm = Algorithm(loss="ppo", kl_weight=5.0, kl_reference="start")
    settings = {"steps": 3, "learning_rate": 0.01, "start": start, "algorithm": algorithm}
    _, whole, _ = played(tiny, tmp_path, "whole", **settings)
    moved = {name: float((value - policy.masters[name]).abs().max()) for name, value in whole.policy.masters.items()}
    assert 0 < max(moved.values()) < 0.05
    played(tiny, tmp_path, "cut", stop_after=2, **settings)
    _, cut, _ = played(tiny, tmp_path, "cut", **settings)
    assert all(torch.equal(value, cut.policy.masters[name]) for name, value in whole.policy.masters.items())


def test_one_step_off_samples_ahead_and_says_so(tiny, tmp_path):
    algorithm = Algorithm(loss="ppo", mismatch_most=2.0)
    reports, _, _ = played(tiny, tmp_path, steps=4, staleness=1, algorithm=algorithm, learning_rate=0.01)
    assert [report.values["staleness"] for report in reports] == [0, 1, 1, 1]
    assert reports[-1].values["sampler gap"] > reports[0].values["sampler gap"]
    assert 0 < reports[-1].values["effective samples"] <= 1


def test_an_engine_that_answers_under_old_weights_stops_the_run(tiny, tmp_path):
    class Stale(HeldEngine):
        """Answers every step under the weights of the first one, as a broken hand-over would."""

        async def reply(self, model, *rest, **options):
            return await super().reply(f"{model.partition('@')[0]}@0", *rest, **options)

        async def unload(self, name):
            if not name.endswith("@0"):
                await super().unload(name)

    async def play():
        process = EngineProcess.local(tiny, "tiny", tmp_path, threads=1, precision="float32")
        async with SupervisedEngine(process) as running, Stale(running) as engine:
            task = Task(LetterSuite(), own_score("reward"), engine, tmp_path / "adapters" / "run")
            trainer = ReinforcementTrainer(
                make_rl_config(steps=3, attempts=8, learning_rate=0.05), task, tiny, tmp_path / "run"
            )
            before = trainer.policy.state()
            with pytest.raises(SamplerDisagrees, match=r"step 2: .* stale weights: the engine sampled under the"):
                await trainer.train(lambda report: None)
            return trainer, before

    trainer, before = asyncio.run(play())
    assert trainer.progress.step == 1
    assert any(not torch.equal(value, before[name]) for name, value in trainer.policy.masters.items())


def test_a_judge_that_pays_for_length_is_found_out_and_the_run_frozen(tiny, tmp_path):
    """The policy learns to write long; the truth, the share of a letter, does not follow."""
    with pytest.raises(RewardHacked, match="learns what is paid for, and not the task") as found:
        played(
            tiny, tmp_path, reward=each(pays_for_length), truth="reward", steps=30, scenarios=4, attempts=8,
            learning_rate=0.01, new_tokens=16,
        )  # fmt: skip
    assert "last clean step is" in str(found.value)
    assert (tmp_path / "run" / "review.jsonl").is_file()


def test_a_run_is_watched_from_its_start_also_after_it_was_cut(tiny, tmp_path):
    played(tiny, tmp_path, steps=4, stop_after=2)
    played(tiny, tmp_path, steps=4)
    lines = (tmp_path / "run" / "measures.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3, 4]


def test_the_watch_sees_groups_that_were_given_up_for_others(tiny, tmp_path):
    flat = each(lambda trajectory: 0.5, "flat")
    reports, _, _ = played(tiny, tmp_path, reward=flat, steps=1, algorithm=ALGORITHMS["dapo"])
    (line,) = (tmp_path / "run" / "measures.jsonl").read_text().splitlines()
    assert len(json.loads(line)["reward"]) == 6, "two groups, and two refills of two"
    assert reports[0].silent_groups == 6


class Lazy:
    """A judge that gives no verdict on every other group."""

    name = "reward"

    def __init__(self):
        self.asked = 0

    async def __call__(self, group):
        self.asked += 1
        if self.asked % 2:
            raise UpstreamFailed("the judge answered twice without a verdict; the group is lost")
        return await own_score("reward")(group)


def test_a_group_without_a_verdict_is_lost_by_name_and_the_others_are_learned(tiny, tmp_path):
    reports, _, _ = played(tiny, tmp_path, reward=Lazy(), steps=1, scenarios=4)
    assert reports[0].dropped == {"UpstreamFailed of the reward: the judge answered twice without a verdict": 8}
    assert reports[0].values["sampled tokens"] > 0


def test_a_stale_run_that_was_stopped_ends_like_one_that_was_not(tiny, tmp_path):
    settings = {
        "steps": 4,
        "staleness": 1,
        "algorithm": Algorithm(loss="ppo", mismatch_most=2.0),
        "learning_rate": 0.01,
    }
    _, whole, _ = played(tiny, tmp_path, "whole", **settings)
    played(tiny, tmp_path, "cut", stop_after=2, **settings)
    more, cut, _ = played(tiny, tmp_path, "cut", **settings)
    assert [report.values["staleness"] for report in more] == [1, 1]
    assert all(torch.equal(value, cut.policy.masters[name]) for name, value in whole.policy.masters.items())


def test_a_broken_hand_over_is_found_out_in_a_stale_run_too(tiny, tmp_path):
    class Base(HeldEngine):
        """Answers from the third step on under the first one's weights."""

        async def reply(self, model, *rest, **options):
            name, _, step = model.partition("@")
            return await super().reply(f"{name}@0" if int(step) > 1 else model, *rest, **options)

        async def unload(self, name):
            if not name.endswith("@0"):
                await super().unload(name)

    async def play():
        process = EngineProcess.local(tiny, "tiny", tmp_path, threads=1, precision="float32")
        async with SupervisedEngine(process) as running, Base(running) as engine:
            task = Task(LetterSuite(), own_score("reward"), engine, tmp_path / "adapters" / "run")
            config = make_rl_config(steps=6, attempts=8, learning_rate=0.05, staleness=1)
            trainer = ReinforcementTrainer(config, task, tiny, tmp_path / "run")
            with pytest.raises(SamplerDisagrees, match="the engine sampled under the base model"):
                await trainer.train(lambda report: None)

    asyncio.run(play())


def test_what_the_engine_held_is_given_up(tiny, tmp_path):
    async def play():
        async with serving(tiny, tmp_path) as engine:
            task = Task(LetterSuite(), own_score("reward"), engine, tmp_path / "adapters" / "run")
            trainer = ReinforcementTrainer(make_rl_config(steps=1), task, tiny, tmp_path / "run")
            await trainer.train(lambda report: None)
            assert engine.holds("policy@0")
            await trainer.release()
            assert not engine.holds("policy@0")

    asyncio.run(play())


def test_a_reward_with_a_fault_says_what_it_is(tiny, tmp_path):
    async def broken(group):
        return [1.0] * len(group.trajectories)

    broken.name = "broken"
    with pytest.raises(InvalidInput, match=r"the reward broken gave 1\.0"):
        played(tiny, tmp_path, reward=broken, steps=1)
