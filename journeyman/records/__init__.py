"""Every noun that is stored or passed, as frozen data."""

from journeyman.records.adapter import Adapter, GateVerdict, Promotion, Share
from journeyman.records.dataset import Dataset, Row, Split
from journeyman.records.erasure import Erasure, who_hash
from journeyman.records.evaluation import (
    CaseResult,
    Duel,
    EvalReport,
    Interval,
    JudgeUse,
    ModelReport,
    PairedDifference,
    SliceDifference,
    VersusReport,
)
from journeyman.records.exchange import (
    UNFINISHED,
    Api,
    Attempt,
    Choice,
    Exchange,
    Fidelity,
    Sampling,
    State,
    Tokens,
    Usage,
)
from journeyman.records.feedback import Feedback, Tagging
from journeyman.records.filter import Condition, Filter
from journeyman.records.judging import JudgeCard
from journeyman.records.key import ApiKey, KeyRevocation, Limits
from journeyman.records.message import Function, FunctionCall, Message, Tool, ToolCall
from journeyman.records.record import Frozen, Record, new_id, now
from journeyman.records.run import Point, Run, RunEvent, RunStatus, SFTConfig
from journeyman.records.trajectory import Outcome, Scenario, Score, Trajectory, TrajectoryGroup
from journeyman.records.usage import UsageEntry
from journeyman.records.wire import WireExchange

__all__ = [
    "UNFINISHED", "Adapter", "Api", "ApiKey", "Attempt", "CaseResult", "Choice", "Condition", "Dataset", "Duel",
    "Erasure", "EvalReport", "Exchange", "Feedback", "Fidelity", "Filter", "Frozen", "Function", "FunctionCall",
    "GateVerdict", "Interval", "JudgeCard", "JudgeUse", "KeyRevocation", "Limits", "Message", "ModelReport",
    "Outcome", "PairedDifference", "Point", "Promotion", "Record", "Row", "Run", "RunEvent", "RunStatus", "SFTConfig",
    "Sampling", "Scenario", "Score", "Share", "SliceDifference", "Split", "State", "Tagging", "Tokens", "Tool",
    "ToolCall", "Trajectory", "TrajectoryGroup", "Usage", "UsageEntry", "VersusReport", "WireExchange", "new_id",
    "now", "who_hash",
]  # fmt: skip
