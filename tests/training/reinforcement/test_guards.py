"""Guards against exploitation: what does nothing must earn nothing, and what earns must earn in the real system."""

import json
import random

import pytest

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.admission.canaries import RANDOM
from journeyman.environments.admission.transcripts import play, repeating
from journeyman.environments.counterparts import first_other_answer, replayed, replies_of
from journeyman.environments.groups import roll_out_groups
from journeyman.environments.limits import RolloutLimits
from journeyman.environments.scripted import ScriptedEnvironment
from journeyman.errors import InvalidInput
from journeyman.records import Sampling, TrajectoryGroup
from journeyman.records.algorithm import ALGORITHMS
from journeyman.records.message import assistant, user
from journeyman.rewards.reward import each
from journeyman.rewards.rules import own_score
from journeyman.training.checkpoints import Progress
from journeyman.training.reinforcement.anchoring import ANCHOR, LANE, Rewards, anchored_groups, gap_of
from journeyman.training.reinforcement.batch import make_batch
from journeyman.training.reinforcement.canary_policies import Earned, leaks
from journeyman.training.reinforcement.guards import Exploited, Guards
from journeyman.training.reinforcement.replaying import QUARANTINED, Auditor
from journeyman.training.reinforcement.scoring import score_groups
from journeyman.training.reinforcement.step_report import report_step
from journeyman.training.reinforcement.task import Task
from journeyman.training.reinforcement.trainer import ReinforcementTrainer
from tests.training.reinforcement.conftest import LetterSuite, make_groups, make_rl_config
from tests.training.reinforcement.test_trainer import serving
from tests.training.reinforcement.till import PayingSuite, RealSuite

HONEST, CROOKED = PayingSuite("world", "a"), PayingSuite("world", "ab")


async def groups_of(suite, said, count=4, lane="suite") -> list[TrajectoryGroup]:
    """Groups whose attempts say these words, in turn."""
    words = iter([*said] * count)
    groups = await roll_out_groups(
        suite, suite.scenarios("train", count, 0), ScriptedEngine(lambda messages, tools: assistant(next(words))), "m",
        Sampling(), attempts=len(said), limits=RolloutLimits(), seed=0, concurrency=1,
    )  # fmt: skip
    return [
        group.model_copy(update={"trajectories": tuple(
            each.model_copy(update={"tags": {LANE: lane}, "id": f"{lane}-{at}-{place}"})
            for place, each in enumerate(group.trajectories)
        )})
        for at, group in enumerate(groups)
    ]  # fmt: skip


def guards(tmp_path, suite, anchor=None, paid_by=None, **fields) -> Guards:
    config = make_rl_config(**{"canaries": 8, "anchor_share": 0.0, **fields})
    return Guards(tmp_path, config, Task(suite, paid_by or own_score("reward"), None, tmp_path, anchor=anchor))


async def test_wins_that_hold_pass_and_those_that_do_not_are_kept_from_the_gradient(tmp_path):
    groups = await groups_of(CROOKED, ["aa", "bb", "ab", "bb", "cc"])
    rewards = (await score_groups(own_score("reward"), groups)).rewards
    found = await Auditor(RealSuite(), ["reward"], 0).audit(groups[:1], rewards[:1], 4)
    # The first of the best holds, so nothing else of its group was looked at.
    assert [(each.attempt, each.holds) for each in found.verdicts] == [("suite-0-0", True)]
    exploiting = await groups_of(CROOKED, ["bb", "ab", "bb", "cc", "aa"])
    found = await Auditor(RealSuite(), ["reward"], 0).audit(exploiting, rewards_of(exploiting), 2)
    assert [(each.holds, each.counts) for each in found.verdicts].count((False, True)) == 2
    marked = [
        place
        for group in found.groups
        for place, each in enumerate(group.trajectories)
        if QUARANTINED in each.tags
    ]  # fmt: skip
    # All that was rewarded for b in the two groups that were looked at; what holds there, and what earned nothing, not.
    assert marked == [0, 1, 2, 0, 1, 2]
    assert 'to "bb" the simulation said paid 1.00, the real system paid 0.00' in found.verdicts[0].why
    told = [score for group in found.groups for each in group.trajectories for score in each.scores]
    assert [score.value for score in told if score.name == "replays"] == [0, 0, 0, 1] * 2


async def test_what_an_opening_says_is_not_replayed_and_no_reply_is_left_out():
    (group,) = await groups_of(RealSuite(), ["aa"], 1)
    (attempt,) = group.trajectories
    opening = (user("hello"), assistant("bb"), *attempt.messages[:1])
    greeted = attempt.model_copy(update={"messages": (*opening, *attempt.messages[1:])})
    assert [said.text for said in replies_of(greeted)] == ["aa"]
    replay = await replayed(RealSuite(), group.scenario, greeted)
    assert replay is not None
    assert [score.value for score in replay.scores] == [1.0]
    assert "both answered alike" in first_other_answer(greeted, replay)
    long = ScriptedEnvironment(["go on"] * 70, lambda replies: len(replies) == 70)
    assert (await play(long, repeating([assistant("go")] * 70), most=70)).is_success


def rewards_of(groups):
    return [[next(s for s in each.scores if s.name == "reward") for each in group.trajectories] for group in groups]


async def test_a_simulation_whose_wins_do_not_hold_stops_the_run_with_the_attempts(tmp_path):
    watch = guards(tmp_path, CROOKED, RealSuite())
    groups = await groups_of(CROOKED, ["bb", "cc"])
    found = await watch.audit(1, groups, rewards_of(groups))
    with pytest.raises(Exploited, match=r"0 of 4 hold.*attempt suite-\d-0.*reward 1 here and 0 there"):
        watch.require_holding(1, found)
    lines = [json.loads(line) for line in (tmp_path / "exploits.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert watch.curves(1) == {"audited": 4, "held": 0, "quarantined": 4, "replays that broke": 0}
    honest = guards(tmp_path / "honest", HONEST, RealSuite())
    groups = await groups_of(HONEST, ["aa", "cc", "ac"])
    for step in range(1, 30):
        found = await honest.audit(step, groups, rewards_of(groups))
        honest.require_holding(step, found)
        assert found.quarantined == 0


async def test_evidence_of_single_failures_grows_over_steps_and_over_a_restart(tmp_path):
    groups = [*await groups_of(CROOKED, ["aa", "cc"], 2), *await groups_of(CROOKED, ["bb", "cc"], 2)]
    for step in range(1, 4):
        watch = guards(tmp_path, CROOKED, RealSuite())
        found = await watch.audit(step, groups, rewards_of(groups))
        assert found.quarantined == 2
        if step < 3:
            watch.require_holding(step, found)
    with pytest.raises(Exploited, match="6 of 12"):
        watch.require_holding(3, found)


async def test_false_wins_are_not_hidden_by_what_earned_a_little_and_holds(tmp_path):
    honest = await groups_of(HONEST, ["accc", "cccc"], 3)
    groups = [*await groups_of(CROOKED, ["bbbb", "cccc"], 1), *honest]
    watch = guards(tmp_path, CROOKED, RealSuite())
    for step in range(1, 4):
        found = await watch.audit(step, groups, rewards_of(groups))
        assert [each.won for each in found.verdicts if each.holds] == [False] * 3
        if step < 3:
            watch.require_holding(step, found)
    with pytest.raises(Exploited, match=r"9 of 12 hold .* of the wins among them 0 of 3"):
        watch.require_holding(3, found)


async def test_a_replay_that_breaks_counts_for_nothing(tmp_path):
    class Broken(RealSuite):
        def environment(self, scenario):
            raise RuntimeError("down for maintenance")

    watch = guards(tmp_path, CROOKED, Broken())
    groups = await groups_of(CROOKED, ["bb", "cc"])
    assert (await watch.audit(1, groups, rewards_of(groups))).quarantined == 0
    assert watch.curves(1)["replays that broke"] == 4


async def test_an_audit_with_nothing_to_compare_says_so(tmp_path):
    groups = await groups_of(CROOKED, ["bb", "cc"])
    with pytest.raises(InvalidInput, match="nothing to compare"):
        await Auditor(RealSuite(), ["money"], 0).audit(groups, rewards_of(groups), 1)


@pytest.mark.parametrize(
    ("paid", "canary"),
    [
        (
            lambda attempt: "Full marks" in attempt.messages[1].text or "success" in attempt.messages[1].text,
            "flatterer",
        ),
        (lambda attempt: '"success": true' in attempt.messages[1].text, "forger"),
        (lambda attempt: "aa" not in attempt.messages[1].text, "null"),
    ],
    ids=["praise", "forged results", "a state that was there before"],
)
async def test_a_leaking_verifier_is_found_by_a_canary(tmp_path, paid, canary):
    reward = each(lambda attempt: float(paid(attempt)), "leaky")
    with pytest.raises(Exploited, match=f"stopped before update 1.*{canary} won"):
        await guards(tmp_path, LetterSuite(), paid_by=reward).check_canaries(1)


async def test_a_sound_reward_pays_no_canary_and_checks_add_up(tmp_path):
    watch = guards(tmp_path, LetterSuite())
    for step in (1, 6, 11):
        await watch.check_canaries(step)
    assert {name: value for name, value in watch.curves(6).items() if "null" in name} == {
        "canary null: won": 0, "canary null: played": 2,
    }  # fmt: skip
    assert "flatterer won 0 of 12" in watch.said()


def test_the_random_player_is_a_canary_only_against_the_real_system():
    own, real = {RANDOM: Earned(won=6, played=8)}, {RANDOM: Earned(won=0, played=8)}
    assert leaks(own, {}) == []
    assert leaks(own, own) == []
    assert leaks(own, real) == [RANDOM]


def test_the_anchor_has_its_share_of_the_groups_from_the_first_step_on():
    assert [anchored_groups(step, 0.1, 8) for step in range(10)].count(1) == 8
    assert sum(anchored_groups(step, 0.25, 8) for step in range(10)) == 20
    assert anchored_groups(0, 0.01, 8) == 1
    assert anchored_groups(0, 0.99, 2) == 1
    assert anchored_groups(3, 0.0, 8) == 0


def lanes(generator, steps, suite, anchor):
    def drawn(chance, count):
        return tuple(sum(generator.random() < chance for _ in range(8)) / 8 for _ in range(count))

    return [Rewards(step, drawn(suite(step), 7), drawn(anchor(step), 1)) for step in range(1, steps + 1)]


def stopped_at(history, steps):
    for upto in range(1, steps + 1):
        found = gap_of(history[:upto], steps)
        if found is not None and found.is_exploited:
            return upto
    return None


def test_a_reward_that_rises_without_the_anchors_is_found_and_one_that_rises_with_it_is_not():
    generator = random.Random(0)
    apart = [lanes(generator, 30, lambda t: 0.2 + 0.6 * t / 30, lambda t: 0.2) for _ in range(8)]
    together = [lanes(generator, 30, lambda t: 0.2 + 0.6 * t / 30, lambda t: 0.2 + 0.6 * t / 30) for _ in range(8)]
    assert sum(stopped_at(each, 30) is not None for each in apart) >= 6
    assert [stopped_at(each, 30) for each in together] == [None] * 8
    gap = gap_of(apart[0], 30)
    assert gap.value.low > 0.1
    assert gap_of([Rewards(1, (0.5,), ())], 30) is None


async def test_an_anchor_without_the_score_is_refused_and_its_attempts_are_not_in_the_reward(tmp_path):
    watch = guards(tmp_path, HONEST, RealSuite(), anchor_share=0.5, reward="money")
    anchored = await groups_of(RealSuite(), ["aa", "cc"], lane=ANCHOR)
    with pytest.raises(InvalidInput, match="no score called money"):
        watch.compare(1, anchored, [[None, None]] * 4)
    batch = make_batch(ALGORITHMS["dr_grpo"], anchored[:1], rewards_of(anchored)[:1], 6)
    assert batch.rewards_by_group() == []


async def cut_by_a_world(policy):
    """A group of four, of which a world abstained from the second and the last: as said, and with sampled tokens."""
    (said,) = await groups_of(PayingSuite("world", "a", knows="abc"), ["aa", "zz", "cc", "zz"], 1)
    assert [attempt.score("abstained") for attempt in said.trajectories] == [0, 1, 0, 1]
    (sampled,) = make_groups(policy, 1)
    return said, sampled.model_copy(update={"trajectories": tuple(
        each.model_copy(update={"scores": told.scores})
        for each, told in zip(sampled.trajectories, said.trajectories, strict=True)
    )})  # fmt: skip


async def test_what_a_world_abstained_from_has_no_reward_whatever_pays_and_no_gradient(policy):
    said, cut = await cut_by_a_world(policy)
    everything = each(lambda attempt: 1.0 + len(attempt.messages[1].text), "generous")
    scored = await score_groups(everything, [said])
    assert [score and score.value for score in scored.rewards[0]] == [3.0, None, 3.0, None]
    own = (await score_groups(own_score("reward"), [cut])).rewards
    batch = make_batch(ALGORITHMS["dr_grpo"], [cut], own, 6)
    assert batch.dropped == {"the world abstained": 2}
    assert [bool(attempt.rows) for attempt in batch.attempts] == [True, False, True, False]
    # Its siblings are compared as if it had not been there.
    assert [attempt.advantage for attempt in batch.attempts] == [0.5, 0, -0.5, 0]


async def test_what_a_world_abstained_from_can_count_as_the_worst_and_is_learned_from_and_counted(policy):
    said, cut = await cut_by_a_world(policy)
    kind = each(lambda attempt: 1.0 + len(attempt.messages[1].text), "generous")
    assert values_of(await score_groups(kind, [said], "worst")) == [3.0, 0.0, 3.0, 0.0]
    strict = each(lambda attempt: -float(len(attempt.messages[1].text)), "strict")
    assert values_of(await score_groups(strict, [said], "worst")) == [-2.0, -2.0, -2.0, -2.0]
    own = (await score_groups(own_score("reward"), [cut], "worst")).rewards
    assert [score.value for score in own[0]] == [1.0, 0.0, 0.0, 0.0]
    batch = make_batch(ALGORITHMS["dr_grpo"], [cut], own, 6)
    assert batch.dropped == {}
    assert all(attempt.rows for attempt in batch.attempts)
    assert [attempt.advantage for attempt in batch.attempts] == [0.75, -0.25, -0.25, -0.25]
    progress = Progress(step=1, seconds=1.0)
    assert report_step(progress, 1, batch, None, {}, 0, None).curves()["unknown"] == 2
    failed = said.trajectories[1].model_copy(update={"error": "TimedOut: at the bank"})
    broken = said.model_copy(update={"trajectories": (said.trajectories[0], failed)})
    assert values_of(await score_groups(kind, [broken], "worst")) == [3.0, None]


def values_of(scored):
    return [score and score.value for score in scored.rewards[0]]


async def run_of(tiny, folder, suite, anchor=None, **fields):
    kept, reports = [], []
    async with serving(tiny, folder) as engine:
        config = make_rl_config(**{"scenarios": 4, "attempts": 8, "learning_rate": 0.02, "canaries": 4, **fields})
        task = Task(suite, own_score("reward"), engine, folder / "adapters", anchor=anchor)
        trainer = ReinforcementTrainer(config, task, tiny, folder / "run", keep=kept.extend)
        try:
            await trainer.train(reports.append)
        except Exploited as stopped:
            return kept, reports, stopped
        finally:
            await trainer.release()
    return kept, reports, None


async def test_a_whole_run_in_a_simulation_that_holds_counts_both_lanes(tiny, tmp_path):
    # Many letters pay, so that a model of random weights surely wins something; canaries would, too.
    letters = "abcdefghijklmnopqrstuvwxyz"
    kept, reports, stopped = await run_of(
        tiny, tmp_path, PayingSuite("world", letters), RealSuite(letters), steps=2, anchor_share=0.25, canaries=0
    )
    assert stopped is None
    assert all(report.values["held"] == report.values["audited"] > 0 for report in reports)
    assert all("gap" in report.curves() and "anchor reward" in report.curves() for report in reports)
    by_lane = {lane: [each for each in kept if each.tags[LANE] == lane] for lane in ("suite", ANCHOR)}
    assert {each.tags["environment"] for each in by_lane[ANCHOR]} == {"real"}
    assert len({each.id for each in by_lane[ANCHOR]}) == 2 * 8
    assert any(each.score("replays") == 1 for each in by_lane["suite"])


async def test_a_whole_run_in_one_that_does_not_ends_before_the_first_update(tiny, tmp_path):
    crooked = PayingSuite("world", "".join(map(chr, range(98, 127))))
    kept, reports, stopped = await run_of(tiny, tmp_path, crooked, RealSuite(), canaries=0)
    assert reports == []
    assert "stopped at step 1" in str(stopped)
    assert any(QUARANTINED in each.tags for each in kept)
