"""`python -m tests.training.reinforcement.faults FAULTS FOLDER`: a whole run in which whatever can fail does.

Tools raise, hang, exit and talk too long; scores are NaN; the engine fails, says nothing, forgets its tokens and is
killed in the middle of a rollout; the judge under RULER talks nonsense and hangs. What was planted is counted, and
what the run's table says was lost has to be the same.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from journeyman.engines.engine import Reply
from journeyman.engines.held import HeldEngine
from journeyman.engines.process import EngineProcess
from journeyman.engines.scripted import ScriptedEngine
from journeyman.engines.supervisor import RestartRules, SupervisedEngine
from journeyman.environments.environment import Observation
from journeyman.errors import UpstreamFailed
from journeyman.records import Message, Scenario, Score, Tokens
from journeyman.records.message import assistant, user
from journeyman.rewards import Asker, Ruler
from journeyman.training.reinforcement.trainer import ReinforcementTrainer, Task
from tests.tiny import write_model
from tests.training.reinforcement.conftest import make_rl_config

SOUND, FAILS_ONCE = "nothing", "the engine fails once"
LOSSES = {
    SOUND: None,
    FAILS_ONCE: None,
    "the tool raises": "failed: KeyError",
    "the tool hangs": "failed: DeadlineExceeded",
    "the tool calls sys.exit": "failed: RuntimeError",
    "the tool says too much": "failed: ContextTooLong",
    "the score is NaN": "failed: InvalidInput",
    "the engine fails": "failed: UpstreamFailed",
    "the engine gives no choice": "failed: UpstreamFailed",
    "the engine says nothing": None,  # in one of two turns
    "the engine forgets its tokens": "tokens or log-probabilities missing",
}
KINDS = list(LOSSES)
NONSENSE, SILENCE = "nonsense", "silence"
GARBAGE = {
    NONSENSE: "UpstreamFailed of the reward: the judge a-judge answered twice without a verdict that can be read",
    SILENCE: "UpstreamFailed of the reward: no answer of the judge a-judge within 1 s",
}
JUDGES = ["sound", "sound", NONSENSE, "sound", "sound", SILENCE]
SCENARIOS, ATTEMPTS = len(JUDGES), len(KINDS)


class Sabotaged:
    """Two turns; each fork has the fault of its number. The engine hears of its own in the second message."""

    def __init__(self, scenario: Scenario, fault: str = SOUND) -> None:
        self.scenario, self.fault, self.said = scenario, fault, list[str]()

    async def start(self) -> Observation:
        return Observation(messages=(user(f"Write {self.scenario.data['judge']} {self.scenario.id}"),))

    def fork(self, n: int) -> Sequence["Sabotaged"]:
        split = self.scenario.data["split"]
        return [Sabotaged(self.scenario, KINDS[at % len(KINDS)] if split == "train" else SOUND) for at in range(n)]

    async def step(self, reply: Message) -> Observation:
        self.said.append(reply.text)
        if len(self.said) == 2:
            return Observation(done=True)
        match self.fault:
            case "the tool raises":
                raise KeyError("account")
            case "the tool hangs":
                await asyncio.Event().wait()
            case "the tool calls sys.exit":
                raise SystemExit(3)
            case "the tool says too much":
                return Observation(messages=(user("word " * 600),))
        return Observation(messages=(user(self.fault),))

    def score(self) -> tuple[Score, ...]:
        said = "".join(self.said)
        share = said.count("a") / max(len(said), 1)
        return (Score(name="reward", value=float("nan") if self.fault == "the score is NaN" else share),)

    async def close(self) -> None:
        pass


class SabotagedSuite:
    name = "sabotaged"

    def scenarios(self, split: str, count: int, seed: int) -> list[Scenario]:
        return [
            Scenario(
                id=f"{split}-{seed}-{at}", environment=self.name, kind="word",
                data={"split": split, "judge": JUDGES[at % len(JUDGES)]},
            )
            for at in range(count)
        ]  # fmt: skip

    def environment(self, scenario: Scenario) -> Sabotaged:
        return Sabotaged(scenario)


class Failing(HeldEngine):
    """The real engine, which fails where it is told to, and is killed at every so many replies."""

    def __init__(self, running: SupervisedEngine, kill_every: int) -> None:
        super().__init__(running)
        self._process, self._kill_every = running, kill_every
        self.replies = self.kills = 0
        self._failed: set[str | None] = set()

    async def reply(self, model: str, messages: Sequence[Message], *rest: Any, **options: Any) -> Reply:
        match messages[-1].text:
            case "the engine fails":
                raise UpstreamFailed("the engine answered with 500")
            case "the engine fails once" if options["session"] not in self._failed:
                self._failed.add(options["session"])
                raise UpstreamFailed("the engine answered with 500")
        reply = await super().reply(model, messages, *rest, **options)
        self.replies += 1
        if self.replies % self._kill_every == 0 and self._process.pid is not None:
            self.kills += 1
            os.kill(self._process.pid, signal.SIGKILL)
        (choice,) = reply.choices
        fault = messages[-1].text
        if fault == "the engine gives no choice":
            return reply.model_copy(update={"choices": ()})
        if fault == "the engine forgets its tokens":
            return reply.model_copy(update={"choices": (choice.model_copy(update={"tokens": None}),)})
        if fault == "the engine says nothing":
            return reply.model_copy(update={"choices": (_emptied(choice),)})
        return reply


def _emptied(choice: Any) -> Any:
    silent = Tokens(prompt=choice.tokens.prompt, reply=(), logprobs=())
    return choice.model_copy(update={"message": assistant(""), "tokens": silent})


async def _judge(messages: Sequence[Message]) -> Message:
    shown = json.loads(messages[1].text)
    asked = json.dumps(shown["context"])
    if NONSENSE in asked:
        return assistant("I like all of them.")
    if SILENCE in asked:
        await asyncio.Event().wait()
    scores = {}
    for each in shown["attempts"]:
        said = "".join(one.get("content", "") for one in each["messages"] if one["role"] == "assistant")
        scores[each["id"]] = said.count("a") / max(len(said), 1)
    said = [{"id": id, "reason": "counted", "score": score} for id, score in scores.items()]
    return assistant(json.dumps({"attempts": said, "ranking": sorted(scores, key=lambda id: -scores[id])}))


class JudgeEngine(ScriptedEngine):
    """Answers by a coroutine, so that it can hang."""

    async def reply(self, model: str, messages: Sequence[Message], *rest: Any, **options: Any) -> Reply:
        said = await _judge(messages)
        return await ScriptedEngine(lambda *_: said).reply(model, messages)


async def run(folder: Path, steps: int, kill_every: int) -> tuple[Counter[str], Counter[str], int, int]:
    """What was planted and what the run's table says, by name; how often the engine was killed; trajectories kept."""
    model = write_model(folder / "models" / "tiny")
    process = EngineProcess.local(model, "tiny", folder, threads=1, precision="float32")
    rules = RestartRules(first_pause=0.1, longest_pause=0.1, most=100)
    kept: list[Any] = []
    told: Counter[str] = Counter()
    async with SupervisedEngine(process, rules) as running, Failing(running, kill_every) as engine:
        ruler = Ruler(Asker(JudgeEngine(lambda *_: assistant("")), "a-judge", timeout=1.0, retries=0))
        task = Task(SabotagedSuite(), ruler, engine, folder / "adapters")
        config = make_rl_config(
            steps=steps, scenarios=SCENARIOS, attempts=ATTEMPTS, new_tokens=4, max_calls=2, seconds_per_step=1.0,
            seconds_per_call=120.0, truth="reward",
        )  # fmt: skip
        trainer = ReinforcementTrainer(config, task, model, folder / "run", keep=kept.extend)

        def log(report: Any) -> None:
            told.update(report.dropped)
            assert report.values["sampled tokens"] > 0

        await trainer.train(log)
        assert trainer.progress.step == steps
    return planted(steps), told, engine.kills, len(kept)


def planted(steps: int) -> Counter[str]:
    """What a run of so many steps must lose, by the name in its table."""
    found: Counter[str] = Counter()
    for judge in JUDGES * steps:
        for fault in KINDS:
            # An attempt whose tokens are unknown is told so, whether or not the judge had a verdict on it.
            loss = LOSSES[fault] or GARBAGE.get(judge)
            if loss is not None:
                found[loss] += 1
    return found


def main() -> None:
    faults = int(sys.argv[1])
    each = planted(1).total() + 2 * SCENARIOS  # two kinds are no loss in the end
    steps = -(-faults // each)
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp())
    expected, told, kills, kept = asyncio.run(run(folder, steps, kill_every=SCENARIOS * ATTEMPTS))
    assert told == expected, (expected - told, told - expected)
    print(f"{steps * each} faults and {kills} kills of the engine in {steps} steps, {kept} attempts, all kept:")
    for loss, count in told.most_common():
        print(f"  {count:5}  {loss}")


if __name__ == "__main__":
    main()
