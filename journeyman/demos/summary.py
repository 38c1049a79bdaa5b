"""What the demo shows at its end: one conversation turn by turn, and the models side by side."""

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from journeyman.records import EvalReport, Message, ModelReport, Trajectory

_STYLES = {"user": "cyan", "assistant": "green", "tool": "dim"}


def conversation_lines(trajectory: Trajectory) -> Iterator[Text]:
    """A conversation, one line a message, and how it was judged."""
    for message in trajectory.messages:
        if message.role != "system":
            yield Text(f"  {_speaker(message):>9}  ", style="bold").append(_said(message), _STYLES[message.role])
    for score in trajectory.scores:
        mark = "✓" if score.value == 1 else "✗"
        yield Text(f"  {mark} {score.name} {score.reason}".rstrip(), style="dim")


def summary_table(report: EvalReport) -> Table:
    """Success with its interval, and what a conversation takes, for every model."""
    cases = len(report.models[0].cases)
    table = Table(
        title=f"{cases} held-out conversations for each model, greedy",
        caption="success with its 95% interval; model calls, tokens in and out, and cost of 1,000 conversations; "
        "seconds a call took at the median and at the 95th percentile",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("model", no_wrap=True)
    for heading in ("success", "calls", "in", "out", "$/1,000", "p50", "p95"):
        table.add_column(heading, justify="right", no_wrap=True)
    for model in report.models:
        table.add_row(*_cells(model))
    return table


def _cells(model: ModelReport) -> tuple[str, ...]:
    rate = model.success
    cost = model.cost_usd_per_thousand
    return (
        model.model.rpartition("/")[2],
        f"{rate.estimate:.0%} [{rate.low:.0%}, {rate.high:.0%}]",
        f"{model.turns:.1f}",
        f"{model.prompt_tokens:,.0f}",
        f"{model.completion_tokens:,.0f}",
        "unknown" if cost is None else f"{cost:,.2f}",
        _seconds(model.latency_p50),
        _seconds(model.latency_p95),
    )


def _seconds(latency: float | None) -> str:
    return "none" if latency is None else f"{latency:.2f}"


def _speaker(message: Message) -> str:
    return {"user": "customer", "assistant": "agent", "tool": "bank"}[message.role]


def _said(message: Message) -> str:
    calls = [f"{call.function.name}{call.function.arguments}" for call in message.tool_calls or ()]
    return " ".join(filter(None, [message.text, *calls]))
