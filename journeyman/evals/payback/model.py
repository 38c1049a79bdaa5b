"""Whether fine-tuning pays, as a formula: what each call saves, against what is spent once and what each month.

    saving per call = teacher − ((1 − fallback)·student + fallback·teacher) + latency
                      − gap·loss / calls of a conversation
    net of a month  = calls · saving − processors · rent − upkeep
    break-even      = (upfront / months + upkeep + processors · rent) / saving        (none where saving ≤ 0)

All money is in US dollars. The teacher's price may fall in the course of time; the student's is taken to stay.
"""

import math
from dataclasses import dataclass

HOURS_A_MONTH = 730
"""365 days of 24 hours, divided by 12."""
MOST_MONTHS = 120
"""What has not paid back in ten years never does."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One set of numbers for a fine-tuned student in a teacher's place.

    `gap` is by how much the student's rate of failed conversations is above the teacher's (0.02 is two points),
    `loss` what a failed conversation costs; `latency_gain` is what a faster call is worth. With `gpu_hour` the student
    runs on processors of one's own, of which one answers `calls_per_gpu_hour` at most, and the busiest hour has `peak`
    times the calls of the mean one. `price_fall` is the share by which the teacher's price falls each year.
    """

    calls: float
    teacher: float
    student: float
    upfront: float
    upkeep: float
    gap: float = 0.0
    loss: float = 0.0
    calls_per_conversation: float = 1.0
    latency_gain: float = 0.0
    fallback: float = 0.0
    price_fall: float = 0.0
    gpu_hour: float = 0.0
    calls_per_gpu_hour: float = math.inf
    peak: float = 1.0
    months: int = 12

    @property
    def rent(self) -> float:
        """What one processor costs each month."""
        return self.gpu_hour * HOURS_A_MONTH

    @property
    def capacity(self) -> float:
        """Calls a month that one processor answers without the busiest hour being too much for it."""
        return self.calls_per_gpu_hour * HOURS_A_MONTH / self.peak

    @property
    def price_factor(self) -> float:
        """The teacher's mean price over the months, over its price today."""
        return sum(self.fallen(month) for month in range(self.months)) / self.months

    def fallen(self, month: int) -> float:
        """The teacher's price in the middle of a month, counted from 0, over its price today."""
        return (1 - self.price_fall) ** ((month + 0.5) / 12) if self.price_fall else 1.0

    def saving(self, price_factor: float = 1.0) -> float:
        """What a call saves when the teacher costs that much of its price today."""
        teacher = self.teacher * price_factor
        answered = (1 - self.fallback) * self.student + self.fallback * teacher
        return teacher - answered - self.gap * self.loss / self.calls_per_conversation + self.latency_gain

    def hosting(self) -> float:
        """The rent of all processors in a month: at least one, where there are any."""
        if not self.rent:
            return 0.0
        return max(1, math.ceil(self.calls / self.capacity)) * self.rent

    def net(self, month: int) -> float:
        """What a month leaves, after its upkeep and rent."""
        return self.calls * self.saving(self.fallen(month)) - self.hosting() - self.upkeep

    def gain(self) -> float:
        """What all months leave together, less what was spent at first."""
        monthly = self.calls * self.saving(self.price_factor) - self.hosting() - self.upkeep
        return self.months * monthly - self.upfront


def payback_months(plan: Plan) -> float:
    """Months until what was spent at first has come back; infinite when it does not within ten years."""
    left = plan.upfront
    if left <= 0:
        return 0.0
    if not plan.price_fall:
        net = plan.net(0)
        months = left / net if net > 0 else math.inf
        return months if months <= MOST_MONTHS else math.inf
    fixed = plan.hosting() + plan.upkeep
    for month in range(MOST_MONTHS):
        net = plan.calls * plan.saving(plan.fallen(month)) - fixed
        if net <= 0:
            return math.inf  # prices only fall, so no later month is better
        if net >= left:
            return month + left / net
        left -= net
    return math.inf


def break_even_calls(plan: Plan) -> float:
    """The fewest calls a month with which the plan's months leave nothing lost; infinite when no number does.

    With processors, n of them are needed up to n times one's capacity: the least n is looked for that pays for itself.
    """
    saving = plan.saving(plan.price_factor)
    fixed = plan.upfront / plan.months + plan.upkeep
    if saving <= 0:
        return math.inf if fixed + plan.rent > 0 else 0.0
    if not plan.rent:
        return fixed / saving
    if math.isinf(plan.capacity):
        return (fixed + plan.rent) / saving
    left = plan.capacity * saving - plan.rent
    if left <= 0:
        return math.inf
    processors = max(1, math.ceil(fixed / left))
    return (fixed + processors * plan.rent) / saving


def tolerable_gap(plan: Plan) -> float | None:
    """The gap with which the plan's months leave exactly nothing; None where a failure costs nothing, so any does."""
    weight = plan.calls * plan.months * plan.loss / plan.calls_per_conversation
    if not weight:
        return None
    return plan.gap + plan.gain() / weight
