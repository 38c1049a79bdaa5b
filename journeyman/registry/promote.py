"""Decides which model answers to an alias: on evidence, or on a recorded reason; and takes it back.

An alias is its last promotion, and nothing here is ever edited: a rollback is one more promotion.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Adapter, Condition, EvalReport, Filter, GateVerdict, Promotion, Share
from journeyman.registry.adapters import REWARD_CARD, lookup
from journeyman.registry.evidence import find_evidence, pages
from journeyman.registry.gates import Gates
from journeyman.registry.resolve import last_promotion
from journeyman.registry.verdicts import examine
from journeyman.store.store import Store

FORCE = 'or overrule the gate with --force "REASON", which is recorded. Nothing was changed'


def promote(
    store: Store,
    alias: str,
    target: str,
    *,
    gates: Gates = Gates(),
    report: EvalReport | None = None,
    force_reason: str | None = None,
    by: str = "cli",
) -> Promotion:
    """Let `alias` answer with `target` (an adapter's name or id, or a model's name) from now on.

    The evidence is `report`, else the newest one that measured both the target and what answers now; for a first
    promotion, the adapter's base model. Without evidence, or with a gate that fails: Refused, and nothing changes.
    """
    adapter, name = _resolve(store, alias, target)
    present = last_promotion(store, alias)
    if present and present.target == name and not present.split:
        raise Refused(f"{alias} already answers with {target}; nothing was changed")
    examined = _examine(store, alias, (adapter, name), present, gates, report)
    return _decide(store, Promotion(alias=alias, target=name, by=by), [examined], report, force_reason)


def promote_split(
    store: Store,
    alias: str,
    shares: Sequence[Share],
    *,
    gates: Gates = Gates(),
    report: EvalReport | None = None,
    force_reason: str | None = None,
    by: str = "cli",
) -> Promotion:
    """Let several answer to `alias`, each with its share of the conversations; a conversation stays with one.

    Each target whose share grows must pass the gates, as in `promote`, but for the one that answers most now: users
    meet a tenth of a model, too.
    """
    resolved = [_resolve(store, alias, share.target) for share in shares]
    names = [name for _, name in resolved]
    if len(names) < 2 or len(set(names)) != len(names):
        raise InvalidInput(f"a split is between two or more different models, not {', '.join(names) or 'none'}")
    split = tuple(Share(target=name, weight=share.weight) for name, share in zip(names, shares, strict=True))
    present = last_promotion(store, alias)
    if present and present.split and set(present.split) == set(split):
        raise Refused(f"{alias} is already split like this; nothing was changed")
    before, after = _portions(present.shares) if present else {}, _portions(split)
    leading = max(split, key=lambda share: share.weight).target
    examined = [
        _examine(store, alias, (adapter, name), present, gates, report)
        for adapter, name in resolved
        if after[name] > before.get(name, 0) and not (present and present.target == name)
    ]
    return _decide(store, Promotion(alias=alias, target=leading, split=split, by=by), examined, report, force_reason)


def rollback(store: Store, alias: str, *, reason: str = "", by: str = "cli") -> Promotion:
    """Let `alias` answer with what it answered before its present target; a second rollback goes one further back."""
    standing = _standing(history(store, alias))
    if not standing:
        raise NotFound("alias", alias, aliases(store))
    present = standing[-1]
    earlier = [promotion for promotion in standing if not _same(promotion, present)]
    if not earlier:
        raise Refused(
            f"nothing to roll {alias} back to: it has never answered with anything but {shares_text(present)}; "
            "nothing was changed"
        )
    made = Promotion(
        alias=alias,
        target=earlier[-1].target,
        split=earlier[-1].split,
        report_id=earlier[-1].report_id,
        forced=reason.strip() or f"rolled back from {shares_text(present)}",
        undoes=present.id,
        by=by,
    )
    store.put(made)
    return made


def history(store: Store, alias: str) -> list[Promotion]:
    """Every promotion and rollback of `alias`, newest first; empty when it was never promoted."""
    return list(pages(store, Promotion, Filter(conditions=(Condition(field="alias", operator="=", value=alias),))))


def aliases(store: Store) -> list[str]:
    """Every name that was ever promoted, in alphabetical order."""
    return sorted(store.count(Promotion, by="alias"))


def shares_text(promotion: Promotion, shown: Callable[[str], str] = str) -> str:
    """Who answers, as people read it: the target, or each one and its percentage."""
    if not promotion.split:
        return shown(promotion.target)
    whole = sum(share.weight for share in promotion.split)
    return ", ".join(f"{shown(share.target)} {100 * share.weight / whole:.3g}%" for share in promotion.split)


class _Examined(NamedTuple):
    """What was found of one candidate: the report, each gate's verdict; or why there is nothing to judge by."""

    report_id: str | None
    verdicts: tuple[GateVerdict, ...]
    missing: str | None = None


def _decide(
    store: Store,
    made: Promotion,
    examined: Sequence[_Examined],
    report: EvalReport | None,
    force_reason: str | None,
) -> Promotion:
    """Keep the promotion if every gate passed, or with the reason for which that does not matter; else Refused."""
    if force_reason is not None and not force_reason.strip():
        raise Refused("a forced promotion needs a reason, which is recorded with it; nothing was changed")
    verdicts = tuple(verdict for each in examined for verdict in each.verdicts)
    if force_reason is None:
        for each in examined:
            if each.missing:
                raise Refused(each.missing)
        closed = [f"{verdict.gate}: {verdict.reason}" for verdict in verdicts if not verdict.passed]
        if closed:
            which = "the gate is" if len(closed) == 1 else f"{len(closed)} gates are"
            raise Refused(f"{which} closed: {'; '.join(closed)}, {FORCE}")
    found = report.id if report else next((each.report_id for each in examined if each.report_id), None)
    made = made.model_copy(
        update={"report_id": found, "verdicts": verdicts, "forced": force_reason.strip() if force_reason else None}
    )
    store.put(made)
    return made


def _examine(
    store: Store,
    alias: str,
    candidate: tuple[Adapter | None, str],
    present: Promotion | None,
    gates: Gates,
    report: EvalReport | None,
) -> _Examined:
    """Judge a candidate against what answers now; at first, against the adapter's base model."""
    adapter, target = candidate
    incumbent = present.target if present else adapter.base if adapter else None
    if incumbent is None:
        return _Examined(
            None,
            (),
            f"{alias} answers with nothing yet and {target} is not an adapter, so there is nothing to compare it with: "
            f"promote an adapter measured against its base model, {FORCE}",
        )
    evidence = find_evidence(store, target, incumbent, report)
    if evidence is None:
        which = f"report {report.id} did not measure" if report else "no evaluation has measured"
        return _Examined(
            None,
            (),
            f"{which} both {target} and {incumbent}, which it would replace: "
            f"run `journeyman eval --cases SUITE --models {incumbent},{target}` (or --environment NAME), {FORCE}",
        )
    return _Examined(evidence.report.id, examine(store, gates, target, evidence))


def _resolve(store: Store, alias: str, target: str) -> tuple[Adapter | None, str]:
    """The adapter that `target` names, if it is one, and the name that a promotion records for it."""
    if not alias or "/" in alias or alias != "".join(alias.split()):
        raise InvalidInput(f"{alias!r} cannot be an alias: clients call it by one word without a slash")
    adapter = lookup(store, target)
    if adapter is not None:
        if (Path(adapter.path) / REWARD_CARD).is_file():
            raise InvalidInput(
                f"{adapter.name}@{adapter.id} is a reward model: it scores conversations, and answers nobody; nothing "
                "was changed. Promote an adapter that was trained by another method"
            )
        return adapter, adapter.id
    measured = {model.model for report in pages(store, EvalReport) for model in report.models}
    bases = store.count(Adapter, by="base").keys()
    known = (bases | measured) - set(aliases(store))
    if target in known or "/" in target:
        return None, target
    hint = "A provider's model is written provider/model"
    raise NotFound("adapter or model", target, known | store.count(Adapter, by="name").keys(), hint)


def _standing(promotions: Sequence[Promotion]) -> list[Promotion]:
    """The promotions that no rollback took back, oldest first; the last one is in force."""
    standing: list[Promotion] = []
    for promotion in reversed(promotions):
        if promotion.undoes:
            while standing and not _same(standing[-1], promotion):
                standing.pop()
        if not promotion.undoes or not standing:
            standing.append(promotion)
    return standing


def _portions(shares: Sequence[Share]) -> dict[str, float]:
    whole = sum(share.weight for share in shares)
    return {share.target: share.weight / whole for share in shares}


def _same(one: Promotion, other: Promotion) -> bool:
    return (one.target, one.split) == (other.target, other.split)
