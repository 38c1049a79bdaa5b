"""An engine in this process, asked in token ids; the references it is held against; and the same engine over HTTP."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from openai import OpenAI
from peft import PeftModel
from transformers import AutoModelForCausalLM

from journeyman.engines.local.api.server import EngineServer
from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.request import Request, Update
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.sampling.sampler import Sampler
from journeyman.engines.local.scheduler import Scheduler
from journeyman.rendering.chat import ChatTokenizer

GREEDY = SamplingRule(temperature=0)
WAIT = 60.0


@dataclass
class Asked:
    """A request under way: its text in the pieces that were told, and a future of how it ended."""

    request: Request = field(init=False)
    pieces: list[str] = field(default_factory=list)
    ended: Future[str] = field(default_factory=Future)
    on_piece: Callable[[Update], None] | None = None

    def tell(self, update: Update) -> None:
        self.pieces.append(update.text)
        if self.on_piece is not None:
            self.on_piece(update)
        if update.error is not None:
            self.ended.set_exception(update.error)
        elif update.finish_reason is not None:
            self.ended.set_result(update.finish_reason)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def reply(self) -> list[int]:
        """The reply's ids, once it has ended."""
        self.ended.result(WAIT)
        return self.request.reply


class TinyEngine:
    """A scheduler over a float32 model."""

    def __init__(
        self, folder: Path, loras: dict[str, Path], *, rows: int = 16, waiting: int = 512, **options: Any
    ) -> None:
        self.folder = folder
        self.model = LocalModel(folder, precision="float32", **options)
        self.tokenizer = ChatTokenizer(folder)
        for name, path in loras.items():
            self.model.load_adapter(name, path)
        self.scheduler = Scheduler(self.model, rows=rows, waiting=waiting)

    def request(
        self, prompt: Sequence[int], adapter: str | None = None, rule: SamplingRule = GREEDY, max_tokens: int = 24,
        stops: tuple[str, ...] = (), top_logprobs: int = 0, on_piece: Callable[[Update], None] | None = None,
        **more: Any,
    ) -> Asked:  # fmt: skip
        """A request that was not submitted yet."""
        asked = Asked(on_piece=on_piece)
        asked.request = Request(
            prompt, Sampler(rule), max_tokens, stops, self.tokenizer, asked.tell, adapter, top_logprobs, **more
        )
        return asked

    def ask(self, prompt: Sequence[int], adapter: str | None = None, **options: Any) -> Asked:
        asked = self.request(prompt, adapter, **options)
        self.scheduler.submit(asked.request)
        return asked


@pytest.fixture
def start(tiny: Path, loras: dict[str, Path]) -> Iterator[Callable[..., TinyEngine]]:
    """Starts engines over the tiny model (or another folder) and stops them after the test."""
    started: list[TinyEngine] = []

    def started_engine(folder: Path = tiny, loras: dict[str, Path] = loras, **options: Any) -> TinyEngine:
        started.append(TinyEngine(folder, loras, **options))
        return started[-1]

    yield started_engine
    for engine in started:
        engine.scheduler.close()


@pytest.fixture(scope="session")
def reference(tiny: Path, loras: dict[str, Path]) -> "Reference":
    return Reference(tiny, loras)


class Reference:
    """What transformers and PEFT say about the same prompts, one at a time."""

    def __init__(self, folder: Path, loras: dict[str, Path]) -> None:
        self._networks = {None: load_plain(folder)}
        for name, path in loras.items():
            self._networks[name] = PeftModel.from_pretrained(load_plain(folder), path).eval()

    def greedy(self, prompt: Sequence[int], adapter: str | None = None, max_tokens: int = 24) -> list[int]:
        return generate(self._networks[adapter], prompt, max_tokens)

    @torch.no_grad()
    def logprobs(self, ids: Sequence[int], adapter: str | None = None) -> torch.Tensor:
        """[tokens, vocabulary]: row t predicts the token at t + 1."""
        return torch.log_softmax(self._networks[adapter](torch.tensor([list(ids)])).logits[0], dim=-1)


def load_plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def generate(network: Any, prompt: Sequence[int], max_tokens: int) -> list[int]:
    ids = torch.tensor([list(prompt)])
    output = network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False
    )
    return output[0, len(prompt) :].tolist()


def random_prompts(count: int, seed: int = 0, longest: int = 60) -> list[list[int]]:
    """Prompts of different lengths, without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [torch.randint(3, 300, (length,), generator=generator).tolist() for length in lengths]


@dataclass
class Served:
    """The engine behind HTTP on a loopback port."""

    url: str
    engine: EngineServer
    model: LocalModel

    @property
    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=WAIT)

    def post(self, path: str, body: object) -> tuple[int, str]:
        """Status and text of a plain POST; `body` is sent as JSON unless it is bytes."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data=sent), timeout=WAIT) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def served(tiny: Path, loras: dict[str, Path]) -> Iterator[Served]:
    """The engine named `tiny` with its adapters, served by uvicorn in a thread."""
    model = LocalModel(tiny, precision="float32")
    engine = EngineServer(model, "tiny")
    server = uvicorn.Server(uvicorn.Config(engine.app(), "127.0.0.1", 0, log_level="error"))
    listening = threading.Event()
    startup = server.startup

    async def announced(sockets: Any = None) -> None:
        await startup(sockets)
        listening.set()

    server.startup = announced
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert listening.wait(WAIT)
    port = server.servers[0].sockets[0].getsockname()[1]
    served = Served(f"http://127.0.0.1:{port}", engine, model)
    for name, path in loras.items():
        assert served.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})[0] == 200
    yield served
    server.should_exit = True
    thread.join(WAIT)
    engine.close()
