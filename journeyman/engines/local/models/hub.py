"""Gets a model's files from the Hugging Face hub: weights as safetensors only, and if it answers at once."""

import json
import queue
import re
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from journeyman.errors import InvalidInput, UpstreamFailed

PROBE_SECONDS = 5.0

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_WEIGHTS = re.compile(r"model[\w.-]*\.safetensors(\.index\.json)?")
_OTHERS = re.compile(r"[\w.-]+\.json|[\w.-]+\.jinja|tokenizer\.model|merges\.txt|README\.md|LICENSE[\w.]*")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class HubModel:
    """What the hub says of a model: the commit that it stands at, and the files there."""

    id: str
    commit: str
    license: str | None
    files: tuple[str, ...]


def is_hub_id(text: str) -> bool:
    """Whether this is written as a Hugging Face id, owner/name."""
    return bool(_ID.fullmatch(text))


def ask_hub(id: str, seconds: float = PROBE_SECONDS) -> HubModel:
    """What the hub knows of the model `id`; UpstreamFailed, with the reason, when it cannot say so within `seconds`."""
    if constants.HF_HUB_OFFLINE:
        raise UpstreamFailed("HF_HUB_OFFLINE is set")
    answers: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

    def ask() -> None:
        token = get_token()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = Request(f"{constants.ENDPOINT}/api/models/{id}", headers=headers)
        try:
            with urlopen(request, timeout=seconds) as answer:
                answers.put(json.load(answer))
        except (OSError, ValueError) as error:
            answers.put(error)

    # A look-up of the host's name knows no timeout, so it must not be waited for: the thread dies with the process.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty as error:
        raise UpstreamFailed(f"the Hugging Face hub did not answer within {seconds:g} s") from error
    if isinstance(answer, Exception):
        raise UpstreamFailed(f"the Hugging Face hub cannot give {id} ({_reason(answer)})") from answer
    return HubModel(
        id=id,
        commit=str(answer["sha"]),
        license=(answer.get("cardData") or {}).get("license"),
        files=tuple(each["rfilename"] for each in answer.get("siblings", ())),
    )


def download(model: HubModel, folder: Path) -> None:
    """The model's files at that commit, into `folder`. huggingface_hub bounds how long a connection may stall."""
    files = wanted_files(model.id, model.files)
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        snapshot_download(model.id, revision=model.commit, local_dir=folder, allow_patterns=files)
    except OSError as error:
        if error.errno is not None:
            raise
        raise _failed(model, error) from error
    except Exception as error:  # huggingface_hub passes on whatever its HTTP libraries raise
        raise _failed(model, error) from error


def wanted_files(what: str, names: Iterable[str]) -> list[str]:
    """Of a model's file names those that we take; InvalidInput when its weights are pickled only, or absent."""
    names = list(names)
    if not any(_WEIGHTS.fullmatch(name) for name in names):
        pickled = [name for name in names if name.endswith(_PICKLED)]
        if pickled:
            raise InvalidInput(
                f"{what} has its weights only as pickled files ({', '.join(pickled[:3])}), and loading those can run "
                "any code; nothing was pulled. Take a version that has safetensors, or convert it yourself"
            )
        raise InvalidInput(f"{what} holds no weights (model.safetensors); nothing was pulled")
    return [name for name in names if _WEIGHTS.fullmatch(name) or _OTHERS.fullmatch(name)]


def _failed(model: HubModel, error: Exception) -> UpstreamFailed:
    return UpstreamFailed(f"the download of {model.id} from the Hugging Face hub failed ({_reason(error)})")


def _reason(error: Exception) -> str:
    """The heart of a network error, which libraries wrap into several others, in one line."""
    inner = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner).strip().partition("\n")[0] or type(error).__name__
