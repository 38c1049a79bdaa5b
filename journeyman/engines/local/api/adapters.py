"""Which names the engine answers to: the base model's, and its adapters', which come and go while it runs."""

import asyncio
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from journeyman.engines.base_model import check_base
from journeyman.engines.local.api.answers import read_json
from journeyman.engines.local.api.body import read_as
from journeyman.engines.local.api.served import ServedModel
from journeyman.errors import InvalidInput, ModelFileBroken, NotFound


class UnloadBody(BaseModel):
    """`POST /v1/unload_lora_adapter`, as vLLM takes it."""

    model_config = ConfigDict(extra="forbid")

    lora_name: str = Field(min_length=1, max_length=256)


class LoadBody(UnloadBody):
    """`POST /v1/load_lora_adapter`, as vLLM takes it."""

    lora_path: Path
    load_inplace: bool = False
    """Whether a name that stands for other weights already may stand for these from now on."""


class AdapterRoutes:
    """Lists models, and loads and unloads adapters by vLLM's routes and field names."""

    def __init__(self, served: ServedModel, store: Path | None = None) -> None:
        self._served = served
        self._store = None if store is None else store.resolve()
        self._created: dict[str, int] = {served.name: int(time.time())}

    async def models(self, request: HTTPRequest) -> Response:
        """`GET /v1/models`: the base model and the adapters that are registered."""
        names = [self._served.name, *self._served.model.adapters]
        return JSONResponse({"object": "list", "data": [self._described(name) for name in names]})

    async def model(self, request: HTTPRequest) -> Response:
        """`GET /v1/models/NAME`."""
        name = request.path_params["name"]
        self._served.find(name)
        return JSONResponse(self._described(name))

    async def load(self, request: HTTPRequest) -> Response:
        """`POST /v1/load_lora_adapter`: make the adapter in a folder answerable by name."""
        body = read_as(LoadBody, await read_json(request))
        name, folder, served = body.lora_name, body.lora_path, self._served
        if name == served.name:
            raise InvalidInput(f"{name!r} is the name of the base model; give the adapter another one")
        folder = self._placed(folder)
        try:
            await asyncio.to_thread(check_base, folder, served.model.folder, f"adapter {name}")
            tokenizer = served.tokenizers[None].for_adapter(folder)
            # Beside the steps: replies that are being written go on while the file is read.
            reading = served.scheduler.beside(lambda model: model.load_adapter(name, folder, replace=body.load_inplace))
            await asyncio.wrap_future(reading)
        except ModelFileBroken as error:
            # Here the files are what was asked for, not the server's own.
            raise InvalidInput(str(error)) from error
        served.tokenizers[name] = tokenizer
        self._created[name] = int(time.time())
        return JSONResponse({"status": "loaded", "lora_name": name})

    async def unload(self, request: HTTPRequest) -> Response:
        """`POST /v1/unload_lora_adapter`: forget an adapter; requests that run under it finish first."""
        name, served = read_as(UnloadBody, await read_json(request)).lora_name, self._served
        if name not in served.model.adapters:
            raise NotFound("adapter", name, served.model.adapters)
        served.tokenizers.pop(name, None)
        served.model.unload_adapter(name)
        self._created.pop(name, None)
        return JSONResponse({"status": "unloaded", "lora_name": name})

    def _placed(self, folder: Path) -> Path:
        """Where the folder really lies; InvalidInput when it, or a file in it, lies outside of the store."""
        try:
            place = folder.resolve()
            files = [file.resolve() for file in place.iterdir()] if self._store and place.is_dir() else []
            inside = self._store is None or all(each.is_relative_to(self._store) for each in (place, *files))
        except (OSError, RuntimeError, ValueError):  # a loop of links, a zero byte
            inside = False
        if not inside:
            raise InvalidInput(
                f"lora_path: {str(folder)!r} is not inside the folder that this engine takes adapters from; "
                "nothing was read. Put the adapter there, or start the engine with another --adapters"
            )
        return place

    def _described(self, name: str) -> dict[str, Any]:
        is_base = name == self._served.name
        return {
            "id": name,
            "object": "model",
            "created": self._created.get(name, self._created[self._served.name]),
            "owned_by": "journeyman",
            "parent": None if is_base else self._served.name,
            "max_model_len": self._served.model.context,
        }
