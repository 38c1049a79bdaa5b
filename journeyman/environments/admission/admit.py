"""Takes a suite through all checks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from journeyman.engines.scripted import Script, ScriptedEngine
from journeyman.environments.admission.again import NAME as FRESH
from journeyman.environments.admission.again import check_fresh_process
from journeyman.environments.admission.checks import (
    Examined,
    check_forks,
    check_other_paths,
    check_planes,
    check_repeats,
    check_scenarios,
    check_scores,
    check_wrong_ends,
    examine,
)
from journeyman.environments.admission.players import CANARIES, gold_player_of, random_player_of
from journeyman.environments.admission.report import Admission, Finding, PlayerScore
from journeyman.environments.admission.stored import content_of, fingerprint
from journeyman.environments.admission.transcripts import MOST_REPLIES
from journeyman.environments.environment import Suite
from journeyman.environments.episode import keeping
from journeyman.environments.rollout import roll_out_many
from journeyman.environments.verifying import verifier_of
from journeyman.errors import InvalidInput
from journeyman.records import Scenario, Trajectory, now
from journeyman.statistics.intervals import clustered_mean, proportion

MOST_FREE = 0.05
"""The share of scenarios that may be won by doing nothing, by spam, by praise, or by forged results."""
CLOSELY = 5
"""Scenarios that are looked at closely: played again, forked, made wrong."""
Say = Callable[[str], None]


async def check_suite(
    suite: Suite,
    address: str | None = None,
    *,
    split: str = "train",
    count: int = 20,
    closely: int = CLOSELY,
    seed: int = 0,
    say: Say = lambda line: None,
) -> Admission:
    """Every finding about a suite on `count` scenarios of `split`; `closely` of them are played again, forked, bent.

    `address` is the name by which a fresh process can load the suite (`load_suite`); without it that check is left
    out, and says so. `say` is told what is under way.
    """
    if count < 2 or not 1 <= closely <= count:
        raise InvalidInput(f"{count} scenarios, {closely} of them closely: at least 2 are needed, and not more closely")
    scenarios = suite.scenarios(split, count, seed)
    say(f"{2 + len(CANARIES)} players at {count} scenarios")
    players, findings = await _players(suite, scenarios, seed)
    async with _caught("scenarios repeat and splits are apart", findings):
        findings.append(check_scenarios(suite, split, count, seed))
    say(f"{closely} scenarios closely")
    examined = list[Examined]()
    async with _caught("its episodes can be played", findings):
        for each in scenarios[:closely]:
            random_player = random_player_of(suite, seed + 1)
            examined.append(await examine(suite, each, gold_player_of(suite, each), random_player))
    checks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
        ("the same seed goes the same", lambda: check_repeats(suite, examined, "the same seed goes the same")),
        ("forks share nothing", lambda: check_forks(suite, examined)),
        ("wrong ends are refused", lambda: check_wrong_ends(suite, examined)),
        ("other right paths are accepted", lambda: check_other_paths(suite, examined)),
        ("scores can be given again", lambda: check_scores(suite, examined)),
        ("the agent has no control", lambda: check_planes(examined)),
        # After all the others: what they left behind would show.
        ("nothing stays after a reset", lambda: check_repeats(suite, examined, "nothing stays after a reset")),
        (FRESH, lambda: check_fresh_process(address, examined, scenarios, split, seed)),
    ]
    for name, check in checks if examined else ():
        say(name)
        async with _caught(name, findings):
            findings.append(await check())
    verifier = verifier_of(suite)
    return Admission(
        suite=suite.name, address=address or "", verifier=verifier.version if verifier else None,
        fingerprint=fingerprint(suite), content=content_of(suite), at=now(), split=split, seed=seed,
        players=tuple(players), findings=tuple(findings),
    )  # fmt: skip


@asynccontextmanager
async def _caught(check: str, findings: list[Finding]) -> AsyncIterator[None]:
    """An environment that breaks has failed that check; the others go on."""
    errors = list[str]()
    async with keeping(errors):
        yield
    findings += [Finding(check=check, passed=False, detail=f"it broke: {error}") for error in errors]


async def _players(suite: Suite, scenarios: Sequence[Scenario], seed: int) -> tuple[list[PlayerScore], list[Finding]]:
    gold = [(each, script) for each in scenarios if (script := gold_player_of(suite, each)) is not None]
    scripts = {"random": random_player_of(suite, seed), **CANARIES}
    found = {name: await _reached(suite, scenarios, name, script) for name, script in scripts.items()}
    if gold:
        played = [
            trajectory
            for scenario, script in gold
            for trajectory in await _play(suite, [scenario], "gold", script)
        ]  # fmt: skip
        found = {"gold": _summary("gold", played)} | found
    return list(found.values()), [_gold(found.get("gold"), len(scenarios)), _free(found), _errors(found)]


def _gold(gold: PlayerScore | None, count: int) -> Finding:
    name = "gold wins everything"
    if gold is None:
        return Finding(check=name, passed=None, detail="the suite says of no scenario how it is solved: `gold(…)`")
    won = round(gold.success.estimate * gold.scenarios)
    unsolved = f"; of {count - gold.scenarios} scenarios it knows no solution" if gold.scenarios < count else ""
    return Finding(check=name, passed=won == gold.scenarios, detail=f"{won} of {gold.scenarios}{unsolved}")


def _free(found: dict[str, PlayerScore]) -> Finding:
    shares = {name: found[name].success.estimate for name in CANARIES}
    told = ", ".join(f"{name} wins {share:.0%}" for name, share in shares.items())
    return Finding(check="nothing is won for free", passed=max(shares.values()) <= MOST_FREE, detail=told)


def _errors(found: dict[str, PlayerScore]) -> Finding:
    broken = [each for each in found.values() if each.errors]
    told = "; ".join(
        f"{each.errors} attempts of {each.player} ended in an error: {each.first_error}" for each in broken
    )
    return Finding(check="no player breaks it", passed=not broken, detail=told or f"{len(found)} players")


async def _reached(suite: Suite, scenarios: Sequence[Scenario], name: str, script: Script) -> PlayerScore:
    return _summary(name, await _play(suite, scenarios, name, script))


async def _play(suite: Suite, scenarios: Sequence[Scenario], name: str, script: Script) -> list[Trajectory]:
    return await roll_out_many(suite, scenarios, ScriptedEngine(script), name, max_calls=MOST_REPLIES)


def _summary(name: str, played: Sequence[Trajectory]) -> PlayerScore:
    rewards = [each.score("reward") for each in played if any(score.name == "reward" for score in each.scores)]
    errors = [each.error for each in played if each.error is not None]
    return PlayerScore(
        player=name, scenarios=len(played),
        success=proportion(sum(each.score("success") == 1 for each in played), len(played)),
        reward=clustered_mean([[each] for each in rewards]) if len(rewards) > 1 else None,
        errors=len(errors), first_error=errors[0] if errors else "",
    )  # fmt: skip
