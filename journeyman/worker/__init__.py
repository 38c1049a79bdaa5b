"""Executes runs, through Ctrl-C, kills and restarts.

What happened to a run is told by its events and its curves, in the store; its folder holds what it needs to go on.
"""

from journeyman.worker.runs import find_run, find_unfinished, last_event, last_point, standing
from journeyman.worker.supervised import TrainedModel, config_of, create_run, execute, plan_run, prepare, preview

__all__ = [
    "TrainedModel", "config_of", "create_run", "execute", "find_run", "find_unfinished", "last_event", "last_point",
    "plan_run", "prepare", "preview", "standing",
]  # fmt: skip
