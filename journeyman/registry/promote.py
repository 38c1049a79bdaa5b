"""Decides which model answers to an alias: on evidence, or on a recorded reason; and takes it back.

An alias is its last promotion, and nothing here is ever edited: a rollback is one more promotion.
"""

from collections.abc import Iterator, Sequence

from journeyman.errors import InvalidInput, NotFound, Refused
from journeyman.records import Adapter, Condition, EvalReport, Filter, Promotion
from journeyman.registry.adapters import list_adapters, lookup
from journeyman.registry.gates import better_than
from journeyman.registry.resolve import last_promotion
from journeyman.store.store import R, Store

PAGE = 1000


def promote(
    store: Store,
    alias: str,
    target: str,
    *,
    report: EvalReport | None = None,
    force_reason: str | None = None,
    by: str = "cli",
) -> Promotion:
    """Let `alias` answer with `target` (an adapter's name or id, or a model's name) from now on.

    The evidence is `report`, else the newest one that measured both the target and what answers now; for a first
    promotion, the adapter's base model. Without evidence, or with a gate that fails: Refused, and nothing changes.
    """
    if force_reason is not None and not force_reason.strip():
        raise Refused("a forced promotion needs a reason, which is recorded with it; nothing was changed")
    adapter, name = _resolve(store, alias, target)
    present = last_promotion(store, alias)
    if present and present.target == name:
        raise Refused(f"{alias} already answers with {target}; nothing was changed")
    if force_reason is not None:
        made = Promotion(
            alias=alias, target=name, report_id=report.id if report else None, forced=force_reason.strip(), by=by
        )
    else:
        incumbent = present.target if present else adapter.base if adapter else None
        evidence = _passed_gate(store, alias, name, incumbent, report)
        made = Promotion(alias=alias, target=name, report_id=evidence.id, by=by)
    store.put(made)
    return made


def rollback(store: Store, alias: str, *, reason: str = "", by: str = "cli") -> Promotion:
    """Let `alias` answer with what it answered before its present target; a second rollback goes one further back."""
    standing = _standing(history(store, alias))
    if not standing:
        raise NotFound("alias", alias, aliases(store))
    present = standing[-1]
    earlier = [promotion for promotion in standing if promotion.target != present.target]
    if not earlier:
        raise Refused(
            f"nothing to roll {alias} back to: it has never answered with anything but {present.target}; "
            "nothing was changed"
        )
    made = Promotion(
        alias=alias,
        target=earlier[-1].target,
        report_id=earlier[-1].report_id,
        forced=reason.strip() or f"rolled back from {present.target}",
        undoes=present.id,
        by=by,
    )
    store.put(made)
    return made


def history(store: Store, alias: str) -> list[Promotion]:
    """Every promotion and rollback of `alias`, newest first; empty when it was never promoted."""
    return list(_pages(store, Promotion, Filter(conditions=(Condition(field="alias", operator="=", value=alias),))))


def aliases(store: Store) -> list[str]:
    """Every name that was ever promoted, in alphabetical order."""
    return sorted(store.count(Promotion, by="alias"))


def _resolve(store: Store, alias: str, target: str) -> tuple[Adapter | None, str]:
    """The adapter that `target` names, if it is one, and the name that a promotion records for it."""
    if not alias or "/" in alias or alias != "".join(alias.split()):
        raise InvalidInput(f"{alias!r} cannot be an alias: clients call it by one word without a slash")
    adapter = lookup(store, target)
    if adapter is not None:
        return adapter, adapter.id
    measured = {model.model for report in _pages(store, EvalReport) for model in report.models}
    bases = store.count(Adapter, by="base").keys()
    known = (bases | measured) - set(aliases(store))
    if target in known or "/" in target:
        return None, target
    hint = "A provider's model is written provider/model"
    raise NotFound("adapter or model", target, known | store.count(Adapter, by="name").keys(), hint)


def _passed_gate(store: Store, alias: str, target: str, incumbent: str | None, report: EvalReport | None) -> EvalReport:
    """The evidence that `target` is better than `incumbent`; Refused when there is none or it says otherwise."""
    force = 'or overrule the gate with --force "REASON", which is recorded. Nothing was changed'
    if incumbent is None:
        raise Refused(
            f"{alias} answers with nothing yet and {target} is not an adapter, so there is nothing to compare it with: "
            f"promote an adapter measured against its base model, {force}"
        )
    for evidence in [report] if report else _pages(store, EvalReport):
        meant = {_meant(store, model.model, evidence): model.model for model in evidence.models}
        if target in meant and incumbent in meant:
            verdict = better_than(evidence, meant[target], meant[incumbent])
            if not verdict.passed:
                raise Refused(f"the gate is closed: {verdict.reason}, {force}")
            return evidence
    which = f"report {report.id} did not measure" if report else "no evaluation has measured"
    raise Refused(
        f"{which} both {target} and {incumbent}, which it would replace: "
        f"run `journeyman eval --models {incumbent},{target}`, {force}"
    )


def _meant(store: Store, name: str, report: EvalReport) -> str:
    """What a model's name stood for when the report was measured: an alias and an adapter's name move on."""
    promotions = [promotion for promotion in history(store, name) if promotion.at <= report.at]
    if promotions:
        return promotions[0].target
    namesakes = (adapter.id for adapter in list_adapters(store, name) if adapter.at <= report.at)
    return next(namesakes, name)


def _standing(promotions: Sequence[Promotion]) -> list[Promotion]:
    """The promotions that no rollback took back, oldest first; the last one is in force."""
    standing: list[Promotion] = []
    for promotion in reversed(promotions):
        if promotion.undoes:
            while standing and standing[-1].target != promotion.target:
                standing.pop()
        if not promotion.undoes or not standing:
            standing.append(promotion)
    return standing


def _pages(store: Store, kind: type[R], where: Filter | None = None) -> Iterator[R]:
    """Every record of that kind, newest first, read a page at a time."""
    page = store.find(kind, where, limit=PAGE)
    while page:
        yield from page
        page = store.find(kind, where, after=page[-1].id, limit=PAGE) if len(page) == PAGE else ()
