"""Greatest common divisors of two numbers up to 12, a task of the package reasoning-gym.

The package draws divisors of 1 less often than chance would: the commonest answer, 2, is right of a third of questions.
"""

from journeyman.environments.adapters.reasoning_gym import ReasoningGymSettings, ReasoningGymSuite

suite = ReasoningGymSuite(
    ReasoningGymSettings(
        task="gcd", config={"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 12}, examples=8
    )
)
