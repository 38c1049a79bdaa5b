"""Attempts at a scenario, made up for tests of rewards."""

from journeyman.records import Message, Scenario, Score, Trajectory, TrajectoryGroup
from journeyman.records.message import assistant, system, user

ASKED = (system("You help customers."), user("Where is my order?"))


def attempt(*said: str | Message, **fields: object) -> Trajectory:
    """An attempt that says these things after the question; `score` gives it a `success`."""
    added = tuple(assistant(each) if isinstance(each, str) else each for each in said)
    score = fields.pop("score", None)
    scores = () if score is None else (Score(name="success", value=float(score)),)  # type: ignore[arg-type]
    given = {"scenario_id": "s1", "model": "m", "session": "x", "scores": scores, "latencies": (0.1,) * len(said)}
    return Trajectory(messages=ASKED + added, **(given | fields))  # type: ignore[arg-type]


def group(*trajectories: Trajectory, **data: object) -> TrajectoryGroup:
    """These attempts at one scenario."""
    scenario = Scenario(id="s1", environment="shop", kind="where", data=data)
    return TrajectoryGroup(scenario=scenario, trajectories=trajectories)
