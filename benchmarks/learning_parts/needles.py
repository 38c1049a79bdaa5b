"""Which of one or two people likes what, a task of the package reasoning-gym: a base model answers some with a name."""

from journeyman.environments.adapters.reasoning_gym import ReasoningGymSettings, ReasoningGymSuite

suite = ReasoningGymSuite(
    ReasoningGymSettings(task="needle_haystack", config={"min_num_statements": 1, "max_num_statements": 2}, examples=4)
)
