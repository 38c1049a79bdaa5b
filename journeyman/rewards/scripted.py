"""A reward whose scores come from a function: for tests of whatever asks rewards."""

from collections.abc import Callable, Sequence

from journeyman.records import Score, TrajectoryGroup

Script = Callable[[TrajectoryGroup], Sequence[float | None]]


class ScriptedReward:
    """Gives what `script` returns for a group, whatever it is; `asked` keeps the groups that it saw."""

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self._script, self.name = script, name
        self.asked: list[TrajectoryGroup] = []

    async def __call__(self, group: TrajectoryGroup) -> list[Score | None]:
        """The script's values; one that is no number is handed on as it is, for the caller's checks to find."""
        self.asked.append(group)
        return [
            None if value is None else Score.model_construct(name=self.name, value=value, reason="", by="script")
            for value in self._script(group)
        ]
