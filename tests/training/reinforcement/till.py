"""A task and its simulations: letters are paid for, by one verifier that is right, and by others that are not."""

from journeyman.environments.environment import Observation
from journeyman.records import Message, Outcome, Scenario, Score
from journeyman.records.message import user
from tests.training.reinforcement.conftest import LetterSuite


class _Paying:
    """The share of the letters that pay, among those of the reply."""

    def __init__(self, scenario: Scenario, letters: str, knows: str) -> None:
        self._scenario, self._letters, self._knows = scenario, letters, knows
        self._said = ""

    async def start(self) -> Observation:
        return Observation(messages=(user(f"Write {self._scenario.data['word']}"),))

    async def step(self, reply: Message) -> Observation:
        self._said = reply.text
        return Observation(messages=(user(f"paid {self._paid():.2f}"),), done=True)

    def fork(self, n: int) -> "list[_Paying]":
        return [_Paying(self._scenario, self._letters, self._knows) for _ in range(n)]

    def score(self) -> tuple[Score, ...]:
        if self._knows and any(each not in self._knows for each in self._said):
            return (Score(name="abstained", value=1.0, reason="a letter that it never saw"),)
        return (Score(name="reward", value=self._paid()),)

    def outcome(self) -> Outcome:
        return Outcome(state={"said": self._said})

    async def close(self) -> None:
        pass

    def _paid(self) -> float:
        return sum(each in self._letters for each in self._said) / max(len(self._said), 1)


class PayingSuite(LetterSuite):
    """Pays for `letters`; it abstains where a reply has others than it `knows`, if it knows any."""

    def __init__(self, name: str, letters: str, knows: str = "") -> None:
        self.name, self.letters, self.knows = name, letters, knows

    def environment(self, scenario: Scenario) -> _Paying:
        return _Paying(scenario, self.letters, self.knows)


class RealSuite(PayingSuite):
    """What the others are simulations of."""

    def __init__(self, letters: str = "a") -> None:
        super().__init__("real", letters)

    def counterpart(self, scenario: Scenario) -> Scenario | None:
        return scenario.model_copy(update={"environment": self.name})
