"""Runs one node: rows in, rows out, and an account of what was left out, changed, asked and spent."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from journeyman.config import Settings
from journeyman.datasets.asking import Answered, Progress, Question, ask_all, cost_of
from journeyman.datasets.cache import NodeCache
from journeyman.datasets.corrections import Corrections
from journeyman.datasets.criterion import question_about, unreadable, verdict
from journeyman.datasets.formats import import_rows
from journeyman.datasets.near import without_near_duplicates
from journeyman.datasets.nodes import (
    Asking,
    CorrectNode,
    FilterNode,
    ImportNode,
    NearNode,
    Node,
    PruneNode,
    RelabelNode,
    SourceNode,
    digest,
)
from journeyman.datasets.predicates import code_text, judged, load_predicate
from journeyman.datasets.pruning import prune_rows
from journeyman.datasets.relabel import question_of, relabelled
from journeyman.datasets.soundness import what_is_wrong
from journeyman.datasets.sources import complete_only, erased_ids, matching, take_calls
from journeyman.errors import InvalidInput
from journeyman.records import Erasure, Exchange, Feedback, Filter, Message, Row, Sampling, Tagging
from journeyman.records.dataset import NodeRun
from journeyman.store.store import Store

MOST_ERRORS_TOLD = 20


class Means(NamedTuple):
    """What nodes work with: the store, the settings, where relative paths begin, and a tokenizer if there is one."""

    store: Store
    settings: Settings
    cache: NodeCache
    folder: Path = Path()
    count_tokens: Callable[[str], int] | None = None
    progress: Progress | None = None


class Step(NamedTuple):
    """A node under its name and key, with the rows that it reads."""

    name: str
    key: str
    rows: Sequence[Row]
    means: Means

    def account(
        self, node: Node, kept: Sequence[Row], left_out: Counter[str], **more: Any
    ) -> tuple[list[Row], NodeRun]:
        """The rows that are kept, and the node's account."""
        told = {"given": len(self.rows), **more}
        counted = dict((+left_out).most_common())
        return list(kept), NodeRun(
            name=self.name, kind=node.kind, key=self.key, kept=len(kept), left_out=counted, **told
        )


def run_node(node: Node, step: Step) -> tuple[list[Row], NodeRun]:
    """What the node makes of its rows."""
    runner: Callable[[Any, Step], tuple[list[Row], NodeRun]] = _RUNNERS[type(node)]
    return runner(node, step)


def world_of(node: Node, means: Means) -> list[Any]:
    """What a node's result depends on besides its settings and rows: files, and what is in the store just now."""
    if isinstance(node, ImportNode):
        try:
            content = (means.folder / node.path).read_bytes()
            return [hashlib.sha256(content).hexdigest(), _newest(means.store, Erasure)]
        except OSError as problem:
            raise InvalidInput(f"cannot read {means.folder / node.path} ({problem.strerror})") from problem
    if isinstance(node, SourceNode | CorrectNode) or (isinstance(node, FilterNode) and node.where):
        # Where a node also has code, both count.
        found = [_newest(means.store, kind) for kind in (Exchange, Feedback, Tagging, Erasure)]
        found.append(sorted(means.store.count(Exchange, by="state").items()))
        return [*found, code_text(node.code, means.folder)] if isinstance(node, FilterNode) and node.code else found
    if isinstance(node, FilterNode) and node.code:
        return [code_text(node.code, means.folder)]
    if isinstance(node, PruneNode):
        return [means.count_tokens is not None]
    return []


def _newest(store: Store, kind: Any) -> list[Any]:
    return [[record.id for record in store.find(kind, limit=1)], store.count(kind).get("", 0)]


def _source(node: SourceNode, step: Step) -> tuple[list[Row], NodeRun]:
    corrections = Corrections(step.means.store) if node.corrections else None
    where = complete_only(Filter.parse(node.where))
    judging = node.judging()
    taken = take_calls(
        step.means.store, where, rate=node.rate, seed=node.seed, corrections=corrections, judging=judging
    )
    bill = {"tokens": taken.tokens, "cost_usd": taken.cost_usd}
    return step.account(node, taken.rows, taken.left_out, given=taken.matched, **bill)


def _import(node: ImportNode, step: Step) -> tuple[list[Row], NodeRun]:
    rows = import_rows(step.means.folder / node.path)
    erased = erased_ids(step.means.store)
    kept = [row for row in rows if row.source not in erased]
    return step.account(node, kept, Counter({"erased": len(rows) - len(kept)}), given=len(rows))


def _filter(node: FilterNode, step: Step) -> tuple[list[Row], NodeRun]:
    rows, left_out = list(step.rows), Counter[str]()
    if node.where:
        matched = {exchange.id for exchange in matching(step.means.store, Filter.parse(node.where))}
        left_out[f"its call does not match {node.where}"] = sum(row.source not in matched for row in rows)
        rows = [row for row in rows if row.source in matched]
    if node.code:
        verdicts = judged(load_predicate(node.code, step.means.folder), rows, node.code)
        left_out.update(reason for _, reason in verdicts if reason is not None)
        rows = [row for row, reason in verdicts if reason is None]
    if node.criterion is None or node.asking is None:
        return step.account(node, rows, left_out)
    questions = [question_about(row, node.criterion) for row in rows]
    answered = _ask(step, questions, node.asking, Sampling(temperature=0.0))
    kept, errors = [], []
    for row, question in zip(rows, questions, strict=True):
        answer = answered.answers.get(question.key)
        said = verdict(answer) if answer else None
        if said is None:
            problem = unreadable(answer) if answer else answered.failures[question.key]
            errors.append(f"{row.conversation}: {problem}")
        elif said:
            kept.append(row)
        else:
            left_out["it does not meet the criterion"] += 1
    left_out["the model gave no verdict"] = len(errors)
    return step.account(node, kept, left_out, **_spent(step, node.asking, answered, errors))


def _relabel(node: RelabelNode, step: Step) -> tuple[list[Row], NodeRun]:
    corrected = _Corrected(step.means.store)
    sampling = Sampling(temperature=node.temperature, max_tokens=node.max_tokens)
    questions = [
        None if corrected.has(row) or not _has_question(row) else question_of(row, node.system) for row in step.rows
    ]
    answered = _ask(step, [each for each in questions if each is not None], node.asking, sampling)
    kept, errors, changed = [], [], 0
    for row, question in zip(step.rows, questions, strict=True):
        if question is None:
            kept.append(row)
            continue
        answer = answered.answers.get(question.key)
        new = relabelled(row, answer) if answer else answered.failures[question.key]
        if isinstance(new, str):
            errors.append(f"{row.conversation}: {new}")
        else:
            kept.append(_beside(new, row) if node.rejected else new)
            changed += new.messages != row.messages
    left_out = Counter({"the model gave no answer to learn": len(errors)})
    if node.rejected:
        pairs = [row for row in kept if row.rejected is not None]
        left_out["there is no worse reply beside it"] = len(kept) - len(pairs)
        kept = pairs
    return step.account(node, kept, left_out, changed=changed, **_spent(step, node.asking, answered, errors))


def _correct(node: CorrectNode, step: Step) -> tuple[list[Row], NodeRun]:
    corrected = _Corrected(step.means.store)
    rows = [corrected.applied(row) for row in step.rows]
    changed = sum(after.messages != before.messages for before, after in zip(step.rows, rows, strict=True))
    return step.account(node, rows, Counter(), changed=changed)


def _prune(node: PruneNode, step: Step) -> tuple[list[Row], NodeRun]:
    rows, changed, saved = prune_rows(step.rows, node.texts, step.means.count_tokens)
    kept, left_out = [], Counter[str]()
    for row in rows:
        problem = what_is_wrong(row.messages)
        if problem is None:
            kept.append(row)
        else:
            left_out[f"pruned, {problem}"] += 1
    # A rule that meets nothing is frozen onto the adapter all the same: a typing error should be seen now.
    idle = [text for text in node.texts if prune_rows(step.rows, [text])[1] == 0]
    told = tuple(f"no prompt holds {text!r}, so nothing was saved by it" for text in idle)
    return step.account(node, kept, left_out, changed=changed, tokens_saved=saved, errors=told)


def _near(node: NearNode, step: Step) -> tuple[list[Row], NodeRun]:
    kept, gone = without_near_duplicates(step.rows, node.likeness)
    return step.account(node, kept, Counter({f"at least {node.likeness:g} like another": gone}))


class _Corrected:
    """People's corrections of the calls that rows come from."""

    def __init__(self, store: Store) -> None:
        self._store, self._corrections = store, Corrections(store)

    def has(self, row: Row) -> bool:
        """Whether the row's last turn is what a person wrote in place of the reply."""
        correction = self._of(row)
        return correction is not None and row.messages[-1] == correction

    def applied(self, row: Row) -> Row:
        """The row with the correction as its last assistant turn, if there is one."""
        correction = self._of(row)
        if correction is None or row.messages[-1].role != "assistant" or row.messages[-1] == correction:
            return row
        return row.model_copy(update={"messages": (*row.messages[:-1], correction)})

    def _of(self, row: Row) -> Message | None:
        exchange = self._store.get(Exchange, row.source)
        return self._corrections.of(exchange) if exchange else None


def _beside(new: Row, old: Row) -> Row:
    """The new row, with the old one's last turn as the worse reply, if it said something else."""
    before = old.messages[: len(new.messages)]
    return new if before == new.messages else new.model_copy(update={"rejected": before})


def _has_question(row: Row) -> bool:
    """Whether anything was said before the last assistant turn that a model could answer."""
    return any(message.role == "user" for message in question_of(row).messages)


def _ask(step: Step, questions: Sequence[Question], asking: Asking, sampling: Sampling) -> Answered:
    # The model that answers and how it samples decide what it says; where and how fast it is asked do not.
    book = step.means.cache.answers(digest(asking.model, sampling.wire()))
    return ask_all(step.name, questions, asking, sampling, book, step.means.settings, step.means.progress)


def _spent(step: Step, asking: Asking, answered: Answered, errors: Sequence[str]) -> dict[str, Any]:
    told = [*errors[:MOST_ERRORS_TOLD]]
    if len(errors) > MOST_ERRORS_TOLD:
        told.append(f"and {len(errors) - MOST_ERRORS_TOLD} more")
    return {
        "errors": tuple(told),
        "asked": answered.asked,
        "tokens": answered.usage.total_tokens,
        "cost_usd": cost_of(answered.usage, asking, step.means.settings),
        "spent_usd": cost_of(answered.spent, asking, step.means.settings),
    }


_RUNNERS: dict[type[Node], Callable[..., tuple[list[Row], NodeRun]]] = {
    SourceNode: _source,
    ImportNode: _import,
    FilterNode: _filter,
    RelabelNode: _relabel,
    CorrectNode: _correct,
    PruneNode: _prune,
    NearNode: _near,
}
