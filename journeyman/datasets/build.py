"""Makes a dataset: from captured exchanges that a filter finds, from a file, or from a graph of nodes."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from journeyman.config import Settings
from journeyman.datasets.asking import Progress
from journeyman.datasets.cache import NodeCache, Outcome, outcome_of
from journeyman.datasets.corrections import Corrections
from journeyman.datasets.duplicates import without_duplicates
from journeyman.datasets.formats import import_rows
from journeyman.datasets.judgements import Judging
from journeyman.datasets.leaks import NEAR_LEAK, near_leaks, refuse_leaks
from journeyman.datasets.near import near_pairs
from journeyman.datasets.nodes import Graph, Output, PruneNode, SourceNode, digest
from journeyman.datasets.pruning import prune_rows
from journeyman.datasets.sources import complete_only, erased_ids, take_calls
from journeyman.datasets.split import assign_splits
from journeyman.datasets.steps import Means, Step, run_node, world_of
from journeyman.datasets.versions import Made, check_name, keep_dataset
from journeyman.errors import InvalidInput, Refused
from journeyman.records import Dataset, Exchange, Filter, Row
from journeyman.records.dataset import NodeRun
from journeyman.store.store import Store

_FORM = 1
"""Raised when a node's result changes though its settings do not, so that nothing is reused from before."""


def build_dataset(
    store: Store,
    folder: Path,
    name: str,
    where: Filter,
    validation_share: float = 0.1,
    seed: int = 0,
    *,
    corrections: bool = True,
) -> Dataset:
    """A new version of the dataset `name`, from the exchanges that match.

    Only complete exchanges are taken, unless the filter itself speaks of `state`. The calls of one conversation become
    one row, the last and longest; where it forked, one row per branch. Of a request with several choices the first is
    learned. With `corrections` a reply's newest correction is learned in its place, and calls that went on from the
    reply itself are left out, because it would be learned with them. InvalidInput says what matched when nothing, or
    one conversation only, is left to learn from.
    """
    check_name(name)
    where = complete_only(where)
    taken = take_calls(store, where, corrections=Corrections(store) if corrections else None)
    if not taken.matched:
        total = store.count(Exchange)[""]
        raise InvalidInput(
            f"no exchange matches {str(where)!r}, of {total} in the store; nothing was built. "
            "Try filters with: journeyman traces list --where FILTER"
        )
    rows, duplicates = without_duplicates(taken.rows)
    _refuse_too_few(rows, f"{taken.matched} exchanges match {str(where)!r}", taken.left_out)
    output = _output(validation_share, seed)
    rows, leaks, left_out = _divided(rows, output, taken.left_out)
    made = Made(where=where, duplicates=duplicates, reasons=left_out, near_leaks=leaks)
    return keep_dataset(store, folder, name, rows, made)


def import_dataset(
    store: Store, folder: Path, name: str, path: Path, validation_share: float = 0.1, seed: int = 0
) -> Dataset:
    """A new version of the dataset `name`, from a file in OpenAI's chat fine-tuning format.

    A `split` in the file is kept; a conversation may not be on both sides. Rows of erased exchanges are left out.
    """
    check_name(name)
    found = import_rows(path)
    erased = erased_ids(store)
    rows = [row for row in found if row.source not in erased]
    refuse_leaks(rows, str(path))
    gone = Counter({"erased": len(found) - len(rows)})
    rows, duplicates = without_duplicates(rows)
    rows, leaks, left_out = _divided(rows, _output(validation_share, seed), gone)
    return keep_dataset(store, folder, name, rows, Made(duplicates=duplicates, reasons=left_out, near_leaks=leaks))


def build_graph(
    store: Store,
    folder: Path,
    name: str,
    graph: Graph,
    settings: Settings,
    *,
    count_tokens: Callable[[str], int] | None = None,
    on_progress: Progress | None = None,
    on_node: Callable[[NodeRun], None] = lambda run: None,
) -> Dataset:
    """A new version of the dataset `name`, from a graph; a node is run only if what it reads or its settings changed.

    What each node came to is kept under `folder/nodes`, also when a later one fails. `count_tokens` is that of the
    model that will learn, for what pruning saves; `on_node` is told of every node as it is done.
    """
    check_name(name)
    means = Means(store, settings, NodeCache(folder), graph.folder, count_tokens, on_progress)
    outcomes: dict[str, Outcome] = {}
    for each in graph.nodes:
        outcomes[each] = _outcome(each, graph, outcomes, means)
        on_node(outcomes[each].run)
    erased = erased_ids(store)
    found = _joined(graph.output.inputs, outcomes)
    alive = [row for row in found if row.source not in erased]
    refuse_leaks(alive, "the graph")
    _refuse_unpruned(alive, pruning_of(graph))
    rows, duplicates = without_duplicates(alive)
    runs = tuple(outcome.run for outcome in outcomes.values())
    reasons = Counter({"erased": len(found) - len(alive)})
    for run in runs:
        reasons.update(run.left_out)
    _refuse_too_few(rows, f"{sum(run.given for run in runs if run.kind in ('source', 'import'))} were found", reasons)
    rows, leaks, reasons = _divided(rows, graph.output, reasons)
    made = Made(
        where=_only_filter(graph),
        duplicates=duplicates,
        reasons=reasons,
        near_leaks=leaks,
        pruning=pruning_of(graph),
        graph=graph.text or None,
        nodes=runs,
    )
    return keep_dataset(store, folder, name, rows, made)


def pruning_of(graph: Graph) -> tuple[str, ...]:
    """All texts that the graph prunes, in its order, each once."""
    return tuple(
        dict.fromkeys(text for node in graph.nodes.values() if isinstance(node, PruneNode) for text in node.texts)
    )


class _Divided(NamedTuple):
    rows: list[Row]
    near_leaks: int
    left_out: Counter[str]


def _output(validation_share: float, seed: int) -> Output:
    if not 0 < validation_share < 1:
        raise InvalidInput(f"the validation share is {validation_share:g}; it must lie between 0 and 1, such as 0.1")
    return Output(inputs=("",), validation=validation_share, seed=seed)


def _outcome(name: str, graph: Graph, outcomes: dict[str, Outcome], means: Means) -> Outcome:
    """What a node comes to: kept from before, or made now."""
    node = graph.nodes[name]
    read = [outcomes[each].output for each in node.inputs]
    key = digest(_FORM, node.kind, node.settings(), world_of(node, means), read)
    known = means.cache.load(key)
    # Rows that a model failed on are tried again; its answers to the others are kept elsewhere.
    if known is not None and not known.run.errors:
        spared = {"name": name, "reused": True, "asked": 0, "spent_usd": 0.0}
        return known._replace(run=known.run.model_copy(update=spared))
    rows, run = run_node(node, Step(name, key, _joined(node.inputs, outcomes), means))
    outcome = outcome_of(rows, run)
    means.cache.keep(outcome)
    return outcome


def _joined(names: Sequence[str], outcomes: dict[str, Outcome]) -> list[Row]:
    """The rows of several nodes, in their order; a call that two of them hold is taken from the first."""
    rows: dict[tuple[str, str], Row] = {}
    for name in names:
        for row in outcomes[name].rows:
            rows.setdefault((row.source, row.conversation), row)
    return list(rows.values())


def _divided(rows: Sequence[Row], output: Output, left_out: Counter[str]) -> _Divided:
    """The rows with their splits, how many of train are nearly held out, and what was left out, with these if asked."""
    pairs = near_pairs(rows, output.likeness)
    ties = {(rows[pair.first].conversation, rows[pair.second].conversation) for pair in pairs}
    divided = assign_splits(rows, output.validation, output.seed, ties)
    leaks = near_leaks(divided, pairs)
    if leaks and output.leaks == "refuse":
        named = ", ".join(divided[place].conversation for place in leaks[:5])
        raise Refused(
            f"{len(leaks)} rows to train on are at least {output.likeness:g} like one that is held out, such as "
            f'{named}; nothing was built. Put them on one side, or set leaks = "drop"'
        )
    if leaks and output.leaks == "drop":
        gone = set(leaks)
        divided = [row for place, row in enumerate(divided) if place not in gone]
        if all(row.split == "validation" for row in divided):
            raise InvalidInput(
                "every row to train on is almost one that is held out; nothing was built. Raise `likeness` under "
                "[dataset], or add other conversations"
            )
        return _Divided(divided, 0, left_out + Counter({NEAR_LEAK: len(gone)}))
    return _Divided(divided, len(leaks), +left_out)


def _refuse_unpruned(rows: Sequence[Row], rules: Sequence[str]) -> None:
    """InvalidInput when rows still hold text that the adapter will never be served."""
    _, changed, _ = prune_rows(rows, rules)
    if changed:
        raise InvalidInput(
            f"{changed} rows still hold text that another branch of the graph prunes, but an adapter is served without "
            "any of it; nothing was built. Let the prune nodes come last, before [dataset]"
        )


def _only_filter(graph: Graph) -> Filter | None:
    """The filter of a graph that has one source and nothing else, as it is shown."""
    sources = [node for node in graph.nodes.values() if isinstance(node, SourceNode)]
    alone = len(sources) == len(graph.nodes) == 1 and sources[0].judging() == Judging()
    return complete_only(Filter.parse(sources[0].where)) if alone else None


def _refuse_too_few(rows: Sequence[Row], found: str, problems: Counter[str]) -> None:
    """InvalidInput unless there are two conversations: one to train on and one to measure."""
    conversations = {row.conversation for row in rows}
    if len(conversations) > 1:
        return
    reasons = "; ".join(f"{problem} ({times})" for problem, times in problems.most_common(3) if times)
    if not conversations and not reasons:
        raise InvalidInput(f"{found}: nothing to learn from. Nothing was built; widen the filter")
    if not conversations:
        raise InvalidInput(f"{found}, but none can be learned from: {reasons}. Nothing was built; widen the filter")
    raise InvalidInput(
        f"{found}, but they are one conversation ({conversations.pop()}); a dataset needs two, to hold one out. "
        + (f"Left out: {reasons}. " if reasons else "")
        + "Nothing was built; widen the filter, or send x-journeyman-session to tell conversations apart"
    )
