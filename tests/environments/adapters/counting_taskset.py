"""A taskset as a user of verifiers writes one: prompts, a tool server with state that the rewards see, rewards."""

import verifiers.v1 as vf


class Shelf(vf.State):
    stored: int = 0


class CountData(vf.TaskData):
    wanted: int


class ShelfTools(vf.Toolset[vf.ToolsetConfig, Shelf]):
    TOOL_PREFIX = "shelf"

    async def setup_task(self, task) -> None:
        self.left = task.wanted * 2

    @vf.tool
    async def store(self, count: int = 1) -> str:
        """Put so many on the shelf."""
        if count > self.left:
            raise ValueError(f"only {self.left} are left")
        self.left -= count
        self.state.stored += count
        return f"{self.state.stored} stored, {self.left} left"


class CountConfig(vf.TaskConfig):
    tools: vf.ToolsetConfig = vf.ToolsetConfig()


class CountTask(vf.Task[CountData, Shelf, CountConfig]):
    @classmethod
    def toolsets(cls, config: CountConfig) -> list[vf.Toolset]:
        return [ShelfTools(config.tools)]

    @vf.reward(weight=0.75)
    async def stored(self, trace: vf.Trace) -> float:
        return float(trace.state.stored == self.data.wanted)

    @vf.reward(weight=0.25)
    async def said(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == f"There are {self.data.wanted}.")

    @vf.metric
    async def turns(self, trace: vf.Trace) -> float:
        return trace.num_turns + 100 * len(trace.tool_messages)


class CountTasksetConfig(vf.TasksetConfig):
    task: CountConfig = CountConfig()


class CountTaskset(vf.Taskset[CountTask, CountTasksetConfig]):
    def load(self) -> list[CountTask]:
        return [
            CountTask(
                CountData(name=f"shelf {wanted}", prompt=f"Store {wanted}.", system_prompt="Be brief.", wanted=wanted),
                self.config.task,
            )
            for wanted in range(1, 13)
        ]


__all__ = ["CountTaskset"]
