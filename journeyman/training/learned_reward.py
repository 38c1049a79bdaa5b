"""A trained reward model in the place of a judge: it scores every attempt alone, without a call that costs money."""

import asyncio

from journeyman.errors import InvalidInput
from journeyman.records import Score, Trajectory, TrajectoryGroup
from journeyman.rewards.contents import content_of
from journeyman.training.reward_model import RewardModel


class LearnedReward:
    """The model's centred reward of each attempt up to the last thing that the model under training said.

    With `as_scores` (a model that was fitted to a judge's scores), the score that the judge would give instead. The
    model reads one attempt at a time, beside the event loop.
    """

    def __init__(self, model: RewardModel, name: str = "learned", *, as_scores: bool = False) -> None:
        if as_scores and model.card.learn_from != "scores":
            raise InvalidInput(
                f"the reward model of {name} learned from {model.card.learn_from} and knows no judge's scale; use its "
                "rewards as they are"
            )
        self.name, self._model, self._as_scores = name, model, as_scores
        self._turn = asyncio.Lock()

    async def __call__(self, group: TrajectoryGroup) -> list[Score | None]:
        """An attempt in which the model never spoke cannot be scored; attempts that did the same are read once."""
        known: dict[str, Score | None] = {}
        async with self._turn:
            for trajectory in group.trajectories:
                key = content_of(trajectory).key
                if key not in known:
                    known[key] = await asyncio.to_thread(self._score, trajectory)
        return [known[content_of(each).key] for each in group.trajectories]

    def _score(self, trajectory: Trajectory) -> Score | None:
        spoken = [at for at, message in enumerate(trajectory.messages) if message.role == "assistant"]
        if not spoken:
            return None
        reward = self._model.reward(trajectory.messages[: spoken[-1] + 1], trajectory.tools)
        value = self._model.card.isotonic(reward) if self._as_scores else reward
        return Score(name=self.name, value=value, by="reward model")
