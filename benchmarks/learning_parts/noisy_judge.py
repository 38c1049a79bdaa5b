"""A judge of known quality: it sees the truth through noise, and says the same whenever it is asked the same."""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

from journeyman.engines.scripted import ScriptedEngine
from journeyman.environments.tasks.price_tool import RIGHT_ANSWER, VALID_CALL, PriceToolSettings
from journeyman.records import Message, TrajectoryGroup
from journeyman.records.message import assistant
from journeyman.rewards import Asker, Ruler
from journeyman.rewards.contents import content_of, hash_of

Worth = Callable[[Sequence[dict[str, Any]]], float]
"""The true worth, from 0 to 1, of a conversation as a judge is shown it."""
TURNS_OF_AN_EXAMPLE = 4


class NoisyJudge:
    """Scores 0.2 + 0.6 · worth + noise, cut to 0..1; the noise follows from the question alone, order included."""

    def __init__(self, worth: Worth, noise: float) -> None:
        self._worth, self._noise = worth, noise
        self.reply = ScriptedEngine(self._answer).reply

    def _answer(self, messages: Sequence[Message], _: object) -> Message:
        shown = json.loads(messages[1].text)
        generator = random.Random(hash_of(messages[1].text))
        scores = {
            each["id"]: self._seen(self._worth([*(shown.get("context") or ()), *each["messages"]]), generator)
            for each in shown["attempts"]
        }
        said = [{"id": id, "reason": "as it looks", "score": score} for id, score in scores.items()]
        ranking = sorted(scores, key=lambda id: -scores[id])
        return assistant(json.dumps({"attempts": said, "ranking": ranking}))

    def _seen(self, worth: float, generator: random.Random) -> float:
        return min(1.0, max(0.0, 0.2 + 0.6 * worth + generator.gauss(0.0, self._noise)))


def ruler_over(judge: NoisyJudge) -> Ruler:
    """RULER as it is by default, over that judge."""
    return Ruler(Asker(judge, "a-noisy-judge"), name="ruler")


async def single_verdicts(judge: NoisyJudge, groups: Iterable[tuple[TrajectoryGroup, Sequence[float]]]) -> list[bool]:
    """Of every two attempts of a group that differ in truth: whether one verdict of the judge puts the better first.

    A tie of the judge's is wrong: it cannot tell them apart.
    """
    right: list[bool] = []
    ruler, asker = ruler_over(judge), Asker(judge, "a-noisy-judge")
    for group, truth in groups:
        contents = {content.key: content for content in map(content_of, group.trajectories)}
        if len(contents) < 2:
            continue
        question = ruler.question(group, tuple(contents.values()), 0)
        found = await asker.ask(question.messages(), question.read)
        worth = {content_of(each).key: value for each, value in zip(group.trajectories, truth, strict=True)}
        right += pairs_in_order([found[key].score for key in contents], [worth[key] for key in contents])
    return right


def pairs_in_order(scores: Sequence[float], truth: Sequence[float]) -> list[bool]:
    """For every two that differ in truth: whether the better one has the higher score."""
    pairs = combinations(range(len(truth)), 2)
    return [(scores[a] - scores[b]) * (truth[a] - truth[b]) > 0 for a, b in pairs if truth[a] != truth[b]]


def price_worth(messages: Sequence[dict[str, Any]]) -> float:
    """What the price tool pays for the conversation; a call that was not valid got no result."""
    own = messages[TURNS_OF_AN_EXAMPLE * PriceToolSettings().examples + 1 :]
    results = [each.get("content", "").removeprefix("Result: ") for each in own if each["role"] == "user"]
    if not results:
        return 0.0
    last = own[-1]
    answered = last["role"] == "assistant" and last.get("content", "").strip() == results[0]
    return VALID_CALL + RIGHT_ANSWER * answered


def letter_worth(messages: Sequence[dict[str, Any]]) -> float:
    """The share of the letter in the reply, as the task in miniature pays it."""
    said = str(messages[-1].get("content", ""))
    return said.count("a") / max(len(said), 1)


PRICE_JUDGE = NoisyJudge(price_worth, 0.4)
LETTER_JUDGE = NoisyJudge(letter_worth, 0.05)
price_ruler = ruler_over(PRICE_JUDGE)
"""For `journeyman train rl price-tool --reward learning_parts.noisy_judge:price_ruler`."""
