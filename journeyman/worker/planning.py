"""What every kind of run needs before it starts: its names pinned, and a record of what it will be."""

from typing import Any, TypeVar, cast

from pydantic import ValidationError

from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.errors import InvalidInput
from journeyman.machine import describe_machine
from journeyman.records import Run, new_id
from journeyman.records.run import PolicyConfig, RunKind
from journeyman.registry.adapters import check_adapter, find_adapter
from journeyman.store.store import Store
from journeyman.training.start import check_base, shape_to_keep
from journeyman.worker.runs import model_version

Config = TypeVar("Config", bound=PolicyConfig)


def plan(settings: Settings, store: Store, config: PolicyConfig, kind: str, learns_from: str, **pinned: Any) -> Run:
    """A run of this config, not kept: base, adapter to go on from and device are checked, and written down exactly.

    `learns_from` is the version of its data; `pinned` are further fields that mean the same tomorrow.
    """
    model = find_model(settings, config.base)
    version = model_version(model)
    # torch takes seconds to import and is not part of every installation: whoever only lists runs never pays for it.
    from journeyman.training.devices import choose_device
    from journeyman.training.threads import use_threads

    choose_device(config.device, config.processes)
    pinned["base"] = pinned_name(settings, config.base)
    if config.from_adapter is not None:
        pinned |= _start(store, config, config.from_adapter, model.name, version)
    id = new_id()
    return Run(
        id=id,
        kind=cast(RunKind, kind),
        config=_revalidated(config, pinned).model_dump(mode="json"),
        dataset_version=learns_from,
        base_version=version,
        machine=describe_machine() | {"threads": use_threads(settings.threads)},
        path=str(settings.home / "runs" / id),
    )


def pinned_name(settings: Settings, model: str) -> str:
    """A model's name that means the same tomorrow, and in another folder."""
    folder = find_model(settings, model)
    return model if folder.parent == settings.models.resolve() else str(folder)


def _start(store: Store, config: PolicyConfig, reference: str, base: str, version: str) -> dict[str, Any]:
    """What going on from an adapter fixes."""
    adapter = find_adapter(store, reference)
    check_adapter(adapter)
    check_base(adapter, store.get(Run, adapter.run_id) if adapter.run_id else None, base, version)
    return {"from_adapter": adapter.id, **shape_to_keep(adapter, config)}


def _revalidated(config: Config, pinned: dict[str, Any]) -> Config:
    """The config with what was pinned; InvalidInput when an adapter to go on from has what the method cannot keep."""
    try:
        return type(config).model_validate(config.model_dump() | pinned)
    except ValidationError as invalid:
        said = "; ".join(error["msg"].removeprefix("Value error, ") for error in invalid.errors())
        raise InvalidInput(f"this adapter cannot be gone on from: {said}. Nothing was started") from invalid
