"""LLM-JEPA's loss against transformers' own hidden states in float64, and what it does to a run."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from journeyman.records import Row
from journeyman.records.message import assistant, call, system, tool_result, user
from journeyman.rendering.chat import ChatTokenizer
from journeyman.training.distributed import World
from journeyman.training.joint_embedding import views_of
from journeyman.training.policy import Policy
from journeyman.training.sft import Supervised
from tests.training.conftest import make_config, make_rows


@pytest.fixture
def objective(tiny):
    return Supervised(make_config(jepa_weight=0.5), ChatTokenizer(tiny))


def total(parts):
    return sum(float(part.loss.detach()) for part in parts)


def test_the_loss_is_that_of_transformers_hidden_states(tiny, objective):
    rows = make_rows(5)
    policy, batch = Policy(tiny, objective.config), objective.examples(rows)
    plain = Supervised(make_config(), ChatTokenizer(tiny))
    found = total(objective.parts(policy, batch, World()))
    without = total(plain.parts(policy, plain.examples(rows), World()))

    reference = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float64)
    distances = []
    for row in rows:
        states = []
        for role in ("user", "assistant"):
            text = [message.text for message in row.messages if message.role == role][-1]
            ids = torch.tensor([ChatTokenizer(tiny).encode(text)])
            with torch.no_grad():
                states.append(reference.model(ids).last_hidden_state[0, -1])
        distances.append(1 - torch.nn.functional.cosine_similarity(*states, dim=0))
    assert found - without == pytest.approx(0.5 * float(torch.stack(distances).mean()), abs=1e-5)


def test_training_on_it_brings_questions_and_replies_together(tiny, objective):
    policy, batch = Policy(tiny, objective.config), objective.examples(make_rows(4))

    def distance():
        parts = objective.parts(policy, batch, World())
        return sum(part.values.get("embedding distance", 0) for part in parts)

    before = distance()
    optimizer = torch.optim.Adam(policy.masters.values(), lr=1e-2)
    for _ in range(10):
        for part in objective.parts(policy, batch, World()):
            policy.backward(part.loss)
        optimizer.step()
        optimizer.zero_grad()
        policy.publish()
    assert distance() < before / 2


def test_a_reply_without_words_has_no_view(tiny):
    row = Row(
        messages=(system("Be brief."), user("Balance?"), call("c", "balance"), tool_result("c", "12"), call("d", "x")),
        conversation="a",
        source="test",
    )
    assert views_of(ChatTokenizer(tiny), row) is None
    spoken = row.model_copy(update={"messages": (*row.messages[:2], assistant("12"))})
    views = views_of(ChatTokenizer(tiny), spoken)
    assert ChatTokenizer(tiny).decode(views.asked.ids) == "Balance?"
    assert ChatTokenizer(tiny).decode(views.replied.ids) == "12"
