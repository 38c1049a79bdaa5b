"""Every method: it learns, and its loss and gradients are those of an independent computation in float64."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from journeyman.errors import InvalidInput
from journeyman.records.message import assistant, user
from journeyman.records.run import CONFIGS
from journeyman.rendering.chat import read_template
from journeyman.training.loop import Trainer
from tests.tiny import write_model
from tests.training.conftest import make_config, make_judged, make_pairs, make_rows, plain_model

METHODS = {
    "sft": ("sft", {}),
    "dpo": ("dpo", {"smoothing": 0.1}),
    "kto": ("kto", {"undesirable_weight": 1.3}),
    "orpo": ("orpo", {"odds_weight": 0.5}),
    "reward": ("reward", {}),
    "scores": ("reward", {"learn_from": "scores"}),
    "distill": ("distill", {"teacher": "teacher", "new_tokens": 8, "candidates": 0}),
    "distill-top-k": ("distill", {"teacher": "teacher", "new_tokens": 8, "candidates": 64}),
}
PAIRS = [*make_pairs(8), *make_pairs(4, seed=1, split="validation")]
JUDGED = [*make_judged(8), *make_judged(4, seed=1, split="validation")]


def config(method, **fields):
    kind, own = METHODS[method]
    given = make_config().model_dump(exclude_unset=True) | own | fields
    return CONFIGS[kind].model_validate(given)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("teacher") / "teacher", seed=1)


@pytest.fixture
def trainer(tiny, tmp_path, teacher):
    def made(method, run="run", rows=None, **fields):
        rows = rows or (JUDGED if method in ("kto", "scores") else PAIRS)
        other = teacher if method.startswith("distill") else None
        return Trainer(config(method, **fields), rows, tiny, tmp_path / run, teacher=other)

    return made


def stirred(trainer):
    """As after some training: a fresh adapter has no gradient in half of its weights."""
    generator = torch.Generator().manual_seed(3)
    masters = trainer.policy.masters
    trainer.policy.restore(
        {name: torch.randn(value.shape, generator=generator) * 0.05 for name, value in masters.items()}
    )


class Exact:
    """Transformers and PEFT in float64, with their own attention, and losses written out from the papers."""

    def __init__(self, trainer, model: Path, teacher: Path, folder: Path) -> None:
        trainer.policy.save_adapter(folder, read_template(model))
        self.model = plain_model(model, folder, torch.float64)
        for name, value in self.model.named_parameters():
            value.requires_grad_("lora_" in name)
            if "lora_" in name:
                value.data.copy_(trainer.policy.masters[name])
        self.teacher = plain_model(teacher, dtype=torch.float64)
        masters = trainer.policy.masters
        self.head = {name: value.double().requires_grad_() for name, value in masters.items() if "reward_head" in name}
        self.config = trainer.config

    def logprobs(self, sample, model=None):
        ids = torch.tensor([list(sample.ids)])
        logits = (model or self.model)(ids).logits[0, :-1].log_softmax(-1)
        chosen = logits.gather(1, ids[0, 1:, None])[:, 0]
        return chosen[torch.tensor(sample.mask[1:])]

    def reward(self, sample):
        output = self.model(torch.tensor([list(sample.ids)]), output_hidden_states=True)
        return output.hidden_states[-1][0, -1] @ self.head["reward_head.weight"] + self.head["reward_head.bias"][0]

    def sft(self, batch):
        found = torch.cat([self.logprobs(sample) for (sample,) in batch])
        return -found.mean()

    def dpo(self, batch):
        beta, wrong, total = self.config.beta, self.config.smoothing, 0.0
        for chosen, rejected in batch:
            gap = self.logprobs(chosen).sum() - self.logprobs(rejected).sum()
            margin = beta * (gap - (chosen.reference - rejected.reference))
            total += -(1 - wrong) * torch.log(torch.sigmoid(margin)) - wrong * torch.log(torch.sigmoid(-margin))
        return total / len(batch)

    def kto(self, batch):
        moved = [self.logprobs(other).sum().item() - other.reference for _, other in batch]
        zero = max(sum(moved) / len(moved), 0.0)
        total = 0.0
        for sample, _ in batch:
            gap = self.config.beta * (self.logprobs(sample).sum() - sample.reference - zero)
            weight = 1.0 if sample.good else self.config.undesirable_weight
            total += weight * (1 - torch.sigmoid(gap if sample.good else -gap))
        return total / len(batch)

    def orpo(self, batch):
        total = 0.0
        for chosen, rejected in batch:
            one, other = self.logprobs(chosen).mean(), self.logprobs(rejected).mean()
            odds = torch.log(one.exp() / (1 - one.exp())) - torch.log(other.exp() / (1 - other.exp()))
            total += -one - self.config.odds_weight * torch.log(torch.sigmoid(odds))
        return total / len(batch)

    def reward_pairs(self, batch):
        total = 0.0
        for chosen, rejected in batch:
            one, other = self.reward(chosen), self.reward(rejected)
            total += -torch.log(torch.sigmoid(one - other)) + self.config.centre * (one + other) ** 2
        return total / len(batch)

    def scores(self, batch):
        return sum((self.reward(sample) - sample.score) ** 2 for (sample,) in batch) / (2 * len(batch))

    def distill(self, samples):
        divergences = []
        for sample in samples:
            ids = torch.tensor([list(sample.ids)])
            at = [position - 1 for position, learn in enumerate(sample.mask) if learn]
            student, teacher = self.model(ids).logits[0, at], self.teacher(ids).logits[0, at]
            if self.config.candidates:
                likely = student.topk(self.config.candidates).indices
                student, teacher = student.gather(1, likely), teacher.gather(1, likely)
            p, q = student.softmax(-1), teacher.softmax(-1)
            divergences.append((p * torch.log(p / q)).sum(-1))
        return torch.cat(divergences).mean()


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_are_those_of_an_independent_computation(trainer, tiny, teacher, tmp_path, method):
    ours = trainer(method)
    stirred(ours)
    batch = ours._training[:4]
    exact = Exact(ours, tiny, teacher, tmp_path / "adapter")
    if method.startswith("distill"):
        samples = ours.objective.sample(ours.policy, [sample.ids for (sample,) in batch])
        ours.objective.sample = lambda policy, questions: samples
        expected = exact.distill(samples)
    else:
        expected = getattr(exact, "reward_pairs" if method == "reward" else method)(batch)
    loss, tokens, _ = ours._backward(batch)
    expected.backward()
    assert tokens > 0
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    theirs = {name: value.grad for name, value in exact.model.named_parameters() if value.grad is not None}
    theirs |= {name: value.grad for name, value in exact.head.items()}
    total = math.sqrt(sum(float((grad**2).sum()) for grad in theirs.values()))
    assert total > 1e-4
    for name, master in ours.policy.masters.items():
        assert (master.grad.double() - theirs[name]).norm() <= 1e-5 * total, name


@pytest.mark.parametrize("method", METHODS)
def test_it_learns(trainer, method):
    steps = {"epochs": 8, "batch_rows": 8, "patience": 99, "learning_rate": 5e-3, "validate_every": 4}
    if method.startswith("distill"):
        steps["learning_rate"] = 2e-2
    learner = trainer(method, **steps)
    before = learner._validate()
    learner.progress.validations.clear()
    learner.progress.best_loss = None
    reports = []
    learner.train(reports.append)
    assert learner.progress.best_loss < 0.97 * before
    assert all(math.isfinite(report.loss) for report in reports)


@pytest.mark.parametrize("method", ["dpo", "kto", "distill", "reward"])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(trainer, method):
    whole = trainer(method, "whole", epochs=2, dropout=0.1)
    whole.train(lambda report: None)

    def log(report):
        if report.step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(method, "stopped", epochs=2, dropout=0.1).train(log)
    torch.manual_seed(999)
    resumed = trainer(method, "stopped", epochs=2, dropout=0.1)
    assert resumed.progress.step == 1
    assert resumed._training == whole._training, "references and all"
    resumed.train(lambda report: None)
    for name, value in whole.policy.masters.items():
        assert torch.equal(value, resumed.policy.masters[name]), name


def test_the_reference_is_the_policy_as_it_began(trainer, tiny):
    learner = trainer("dpo", rows=PAIRS[:3] + PAIRS[8:10])
    model = plain_model(tiny, dtype=torch.float64)
    for chosen, rejected in learner._training:
        for sample in (chosen, rejected):
            exact = Exact.logprobs(None, sample, model).sum().item()
            assert sample.reference == pytest.approx(exact, rel=1e-5)


def test_only_what_differs_of_a_pair_is_learned(trainer):
    learner = trainer("dpo")
    for (chosen, rejected), row in zip(learner._training, PAIRS, strict=False):
        for sample, messages in ((chosen, row.messages), (rejected, row.rejected)):
            learned = [token for token, learn in zip(sample.ids, sample.mask, strict=True) if learn]
            assert learner.tokenizer.decode(learned) == messages[-1].content


def test_a_student_samples_up_to_its_stop_token(trainer):
    learner = trainer("distill", new_tokens=30)
    stops = learner.tokenizer.stop_ids
    for sample in learner.objective.sample(learner.policy, [sample.ids for (sample,) in learner._training]):
        reply = [token for token, learn in zip(sample.ids, sample.mask, strict=True) if learn]
        assert 1 <= len(reply) <= 30
        assert not stops & set(reply[:-1])


def test_rows_that_a_method_cannot_learn_are_named(trainer):
    plain = [*make_rows(3), *make_rows(2, split="validation")]
    for method, said in (("dpo", "rejected"), ("kto", "label"), ("scores", "score"), ("orpo", "rejected")):
        with pytest.raises(InvalidInput, match=rf"train-0.*`{said}`"):
            trainer(method, rows=plain)
    row = PAIRS[0].model_copy(update={"rejected": (*PAIRS[0].messages, user("and?"), assistant("yes"))})
    with pytest.raises(InvalidInput, match="only continues the other"):
        trainer("dpo", rows=[row, *PAIRS[1:]])
    broken = JUDGED[0].model_copy(update={"score": float("nan")})
    with pytest.raises(InvalidInput, match="train-0: the score is nan"):
        trainer("scores", rows=[broken, *JUDGED[1:]])


def test_a_teacher_of_another_tokenizer_is_refused_before_its_weights_load(tiny, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("tokenizer_config.json", "config.json", "generation_config.json", "chat_template.jinja"):
        (folder / name).write_text((tiny / name).read_text())
    text = (tiny / "tokenizer.json").read_text().replace('"<|endoftext|>"', '"<|other|>"')
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"tokenizer is not the student's: 1 tokens differ, such as '<\|endoftext"):
        Trainer(config("distill"), PAIRS, tiny, tmp_path / "run", teacher=folder)


def test_memory_that_runs_out_is_told_with_the_setting_that_helps(trainer):
    learner = trainer("sft", pack_tokens=512)

    def parts(policy, batch, world):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        yield

    learner.objective.parts = parts
    with pytest.raises(InvalidInput, match=r"step 1: memory ran out; the batch has 4 rows.*--pack-tokens 256"):
        learner.train(lambda report: None)
    # A pair is a pass of its own, however much may be packed.
    learner = trainer("dpo", pack_tokens=512)
    learner.objective.parts = parts
    with pytest.raises(InvalidInput, match=r"step 1: memory ran out; .* of (\d+) tokens\. Start .* --max-length \d+,"):
        learner.train(lambda report: None)


def test_a_killed_process_goes_on_exactly(trainer, tiny, tmp_path):
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import torch
torch.set_num_threads({torch.get_num_threads()})
from pathlib import Path
from journeyman.training.loop import Trainer
from tests.training.test_methods import PAIRS, config
def log(report):
    if report.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Trainer(config("dpo", epochs=2, dropout=0.1), PAIRS, Path({str(tiny)!r}), Path({str(tmp_path / "killed")!r})).train(log)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=300, capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr
    whole = trainer("dpo", "whole", epochs=2, dropout=0.1)
    whole.train(lambda report: None)
    resumed = trainer("dpo", "killed", epochs=2, dropout=0.1)
    assert resumed.progress.step == 2
    resumed.train(lambda report: None)
    for name, value in whole.policy.masters.items():
        assert torch.equal(value, resumed.policy.masters[name]), name
