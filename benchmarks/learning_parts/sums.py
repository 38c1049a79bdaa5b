"""Sums and differences of two digits, a task of the package reasoning-gym: a base model knows some of them."""

from journeyman.environments.adapters.reasoning_gym import ReasoningGymSettings, ReasoningGymSuite

suite = ReasoningGymSuite(
    ReasoningGymSettings(
        task="chain_sum", config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, examples=4
    )
)
