"""One run of reinforcement learning: what is attempted, how often, and how an update is computed."""

from typing import Literal, Self

from pydantic import Field, model_validator

from journeyman.records.algorithm import ALGORITHMS, Algorithm, Critic
from journeyman.records.run import PolicyConfig

Tracker = Literal["wandb", "mlflow", "trackio"]
Abstained = Literal["left_out", "worst"]
"""What an attempt counts as from which a simulated system abstained: nothing, or the worst of its group."""


class RLConfig(PolicyConfig):
    """Reinforcement learning: the agent attempts scenarios, rewards compare the attempts, the policy follows."""

    rank: int = Field(8, ge=1, le=512)
    """Rank of the adapter's matrices."""
    learning_rate: float = Field(1e-4, gt=0)
    """Constant; 3e-4 suits runs of fewer than about 30 steps."""
    suite: str
    """What to attempt: a suite's name, or `module:attribute` of one of your own."""
    reward: str = "reward"
    """The environment's score of that name, or `module:attribute` of a reward of your own."""
    steps: int = Field(20, ge=1)
    """Steps: attempts, their rewards, an update."""
    scenarios: int = Field(8, ge=1)
    """Scenarios in a step."""
    attempts: int = Field(8, ge=1)
    """Attempts at each scenario, which are compared with each other."""
    new_tokens: int = Field(64, ge=1)
    """Longest reply in one turn."""
    max_calls: int = Field(16, ge=1)
    """Most turns of an attempt."""
    concurrency: int = Field(64, ge=1)
    """Attempts under way at a time."""
    seconds_per_call: float = Field(600.0, gt=0)
    """Seconds for a reply; an attempt that waits longer is lost, by name."""
    seconds_per_step: float = Field(60.0, gt=0)
    """Seconds for the environment's start, each step, and its close."""
    seconds_per_episode: float = Field(3600.0, gt=0)
    """Seconds for an attempt."""
    evaluate_every: int = Field(5, ge=0)
    """Steps between two measurements on held-out scenarios; 0 measures only before and after."""
    evaluate_scenarios: int = Field(24, ge=1)
    """Held-out scenarios of a measurement, four attempts at each."""
    staleness: int = Field(0, ge=0, le=1)
    """1 samples the next step's attempts while this step's are learned from, with weights that are one step old."""
    truth: str | None = None
    """The environment's score that the reward is held against, for the watch; never trained on."""
    watch: str | None = None
    """A judge that never trains, `module:attribute`, which the reward is held against."""
    canaries: int = Field(8, ge=0)
    """Scenarios at which who does nothing of use is tried before the first update, and fewer later; 0 leaves it out."""
    anchor: str | None = None
    """The suite of the real system, where the suite that is trained in is a simulation of it."""
    anchor_share: float = Field(0.1, ge=0, lt=1)
    """Share of the groups that plays the anchor, which the reward is held against; 0 plays none there."""
    abstained: Abstained = "left_out"
    """Attempts from which a world abstained: `left_out`, or the `worst` of their group, so that the policy keeps to
    what the world knows."""
    audited: int = Field(4, ge=0)
    """Most wins of a step that are replayed in the anchor, if it can say which of its scenarios they belong to."""
    engine: str = "local"
    """Where attempts are sampled: an engine of the run's own, or the URL of one that runs and takes adapters."""
    cluster: Literal["none", "ray"] = "none"
    """Where attempts are played and judged: in the run's own process, or on the Ray cluster that RAY_ADDRESS names."""
    track: Tracker | None = None
    """Where curves are written beside the store: wandb, mlflow or trackio."""
    algorithm: Algorithm = ALGORITHMS["cispo"]
    """How an update is computed."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.full:
            raise ValueError("the engine samples under an adapter that changes with each step; leave out --full")
        if self.dropout:
            raise ValueError(
                "the engine samples without dropout, and would disagree with the trainer; leave out --dropout"
            )
        if self.shard:
            raise ValueError("reinforcement learning trains an adapter, which every process holds; leave out --shard")
        if self.anchor is not None and self.anchor == self.suite:
            raise ValueError("--anchor is the suite that is trained in: there is nothing to hold it against")
        if self.anchor is not None and self.anchor_share and self.scenarios < 2:
            raise ValueError("a step of one scenario has none to spare for --anchor; raise --scenarios")
        if self.algorithm.compares_groups and self.attempts < 2:
            raise ValueError(
                f"the estimator {self.algorithm.estimator} compares attempts at one scenario, and there is one: raise "
                "--attempts, or choose --algorithm ppo, reinforce_pp or reinforce"
            )
        return self


class LogsConfig(PolicyConfig):
    """Learning from captured traffic: what was sampled in production, and what was said of it."""

    rank: int = Field(8, ge=1, le=512)
    """Rank of the adapter's matrices."""
    learning_rate: float = Field(1e-4, gt=0)
    """Constant."""
    where: str = ""
    """Which calls, as a filter; all that were completed if absent."""
    feedback: str
    """The feedback whose values are the rewards."""
    epochs: int = Field(1, ge=1)
    """How often each conversation is learned from; ratios tell how far the policy has left what was sampled."""
    batch_attempts: int = Field(32, ge=1)
    """Conversations in one update."""
    track: Tracker | None = None
    """Where curves are written beside the store: wandb, mlflow or trackio."""
    algorithm: Algorithm = Algorithm(estimator="none", loss="ppo", old="engine", critic=Critic())
    """How an update is computed."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.dropout:
            raise ValueError("ratios compare with what was sampled without dropout; leave out --dropout")
        if self.full or self.shard:
            raise ValueError(
                "captured traffic trains an adapter, which every process holds; leave out --full and --shard"
            )
        if self.algorithm.refills or self.algorithm.overlong_buffer is not None:
            raise ValueError(
                "captured traffic can neither be sampled again nor had it a longest reply; leave out "
                "refills and overlong_buffer"
            )
        if self.algorithm.compares_groups:
            raise ValueError(
                f"the estimator {self.algorithm.estimator} compares attempts at one scenario, and production made one "
                "of each: choose --algorithm ppo or reinforce_pp"
            )
        return self


RL_CONFIGS: dict[str, type[RLConfig | LogsConfig]] = {"rl": RLConfig, "logs": LogsConfig}
"""What each kind of run that learns from scored attempts is configured by."""
