"""Continuous batching: whatever is computed together, each reply is what it would be alone."""

import shutil
import threading
import time
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file

from journeyman.engines.local.network.model import LocalModel
from journeyman.engines.local.network.step import PAGE
from journeyman.engines.local.request import Update
from journeyman.engines.local.sampling.rule import SamplingRule
from journeyman.engines.local.scheduler import Scheduler
from journeyman.errors import ContextTooLong, DeadlineExceeded, JourneymanError, NotFound, Overloaded, UpstreamFailed
from tests.engines.local.conftest import WAIT, random_prompts


@pytest.mark.parametrize("adapter", [None, "green"])
def test_many_prompts_together_say_what_transformers_says_alone(start, reference, adapter):
    engine = start(rows=5)
    prompts = random_prompts(14, seed=1)
    lengths = [3 + 2 * number for number in range(len(prompts))]  # They leave one after the other; others join.
    asked = [engine.ask(prompt, adapter, max_tokens=length) for prompt, length in zip(prompts, lengths, strict=True)]
    for prompt, length, each in zip(prompts, lengths, asked, strict=True):
        assert each.reply == reference.greedy(prompt, adapter, length)


def test_rows_under_different_adapters_do_not_touch_each_other(start, reference):
    engine = start(rows=8)
    prompts = random_prompts(12, seed=2)
    adapters = [None, "red", "green", "blue"] * 3
    asked = [engine.ask(prompt, adapter) for prompt, adapter in zip(prompts, adapters, strict=True)]
    expected = [reference.greedy(prompt, adapter) for prompt, adapter in zip(prompts, adapters, strict=True)]
    assert [each.reply for each in asked] == expected
    same = [reference.greedy(prompts[0], adapter) for adapter in (None, "red", "green", "blue")]
    assert len({tuple(reply) for reply in same}) == 4, "adapters that change nothing would prove nothing"


def test_a_prompt_longer_than_a_chunk(start, reference):
    engine = start(rows=3)
    long, short = random_prompts(1, seed=3, longest=2)[0] * 400, random_prompts(1, seed=4)[0]
    asked = [engine.ask(long, "red"), engine.ask(short), engine.ask(long[:300], "red")]
    expected = [reference.greedy(long, "red"), reference.greedy(short), reference.greedy(long[:300], "red")]
    assert [each.reply for each in asked] == expected


def test_the_next_turn_computes_only_what_is_new(start, reference):
    engine = start(rows=2)
    turn = random_prompts(1, seed=5)[0]
    for added in random_prompts(3, seed=6, longest=20):
        asked = engine.ask(turn, "blue")
        assert asked.reply == reference.greedy(turn, "blue")
        # The last token of a reply is sampled, never computed; what does not fill a page is not kept.
        held = (len(turn) + len(asked.reply) - 1) // PAGE * PAGE
        turn = turn + asked.reply + added
        following = engine.ask(turn, "blue")
        assert following.reply == reference.greedy(turn, "blue")
        assert following.request.cached == held
        turn = turn + following.reply


def test_what_is_shared_with_another_request_is_copied_also_while_that_one_runs(start, reference):
    engine = start(rows=4)
    shared = random_prompts(1, seed=7, longest=2)[0] * 100
    begun = threading.Event()
    first = engine.ask([*shared, 7], max_tokens=60, on_piece=lasting(begun))
    assert begun.wait(WAIT)
    second = engine.ask([*shared, 9, 11])
    third = engine.ask([*shared, 9, 11], "red")
    assert second.reply == reference.greedy([*shared, 9, 11])
    assert second.request.cached == len(shared) // PAGE * PAGE
    assert third.reply == reference.greedy([*shared, 9, 11], "red")
    assert third.request.cached == 0, "what another adapter computed must not be used"
    assert first.reply == reference.greedy([*shared, 7], max_tokens=60)


def test_a_name_that_was_given_to_other_weights_uses_nothing_of_the_old_ones(start, reference, loras):
    engine = start(rows=3, loras={"mine": loras["red"]})
    prompt = random_prompts(1, seed=8)[0]
    begun = threading.Event()
    running = engine.ask(prompt, "mine", max_tokens=80, on_piece=lasting(begun))
    assert begun.wait(WAIT)

    def replace(model):
        model.unload_adapter("mine")
        model.load_adapter("mine", loras["blue"])

    engine.scheduler.call(replace).result(WAIT)
    assert engine.ask(prompt, "mine").reply == reference.greedy(prompt, "blue")
    assert running.reply == reference.greedy(prompt, "red", max_tokens=80), "it finishes under what it started with"
    assert engine.ask(prompt, "mine").reply == reference.greedy(prompt, "blue")


def test_an_adapter_that_is_not_there_is_an_error_and_never_the_base(start):
    engine = start()
    with pytest.raises(NotFound, match="purple") as caught:
        engine.ask([5, 6], "purple").ended.result(WAIT)
    assert caught.value.existing == ["blue", "green", "red"]
    engine.scheduler.call(lambda model: model.unload_adapter("red")).result(WAIT)
    with pytest.raises(NotFound, match="red"):
        engine.ask([5, 6], "red").ended.result(WAIT)


def test_a_seed_gives_the_same_reply_whatever_else_is_computed(start):
    engine = start(rows=6)
    prompt = random_prompts(1, seed=9)[0]
    rule = SamplingRule(temperature=1.3, seed="11")
    alone = engine.ask(prompt, "green", rule=rule).reply
    others = [engine.ask(other, rule=SamplingRule(seed=str(index)))
              for index, other in enumerate(random_prompts(4, seed=10))]  # fmt: skip
    assert engine.ask(prompt, "green", rule=rule).reply == alone
    assert [other.ended.result(WAIT) for other in others]
    assert engine.ask(prompt, "green", rule=SamplingRule(temperature=1.3, seed="12")).reply != alone
    assert (
        engine.ask(prompt, "green", rule=SamplingRule(1.3)).reply
        != engine.ask(prompt, "green", rule=SamplingRule(1.3)).reply
    )


def test_logprobs_are_those_of_the_whole_vocabulary_at_temperature_one(start, reference):
    engine = start()
    prompt = random_prompts(1, seed=11)[0]
    asked = engine.ask(prompt, "red", rule=SamplingRule(temperature=0.5, top_p=0.6, seed="1"), top_logprobs=5)
    reply = asked.reply
    expected = reference.logprobs([*prompt, *reply], "red")[len(prompt) - 1 : -1]
    sampled = expected.gather(1, torch.tensor(reply)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(asked.request.logprobs), sampled, atol=1e-4, rtol=0)
    for row, tops in zip(expected, asked.request.alternatives, strict=True):
        values, ids = row.topk(5)
        assert [top.id for top in tops] == ids.tolist()
        torch.testing.assert_close(torch.tensor([top.logprob for top in tops]), values, atol=1e-4, rtol=0)


def lasting(begun: threading.Event) -> Callable[[Update], None]:
    """What is told of each piece: that the reply has begun. It takes its time, so that the reply lasts."""

    def told(update: Update) -> None:
        begun.set()
        time.sleep(0.01)

    return told


def test_cancelling_ends_a_reply_and_frees_its_slot(start, reference):
    engine = start(rows=1)
    prompt = random_prompts(1, seed=12)[0]
    begun = threading.Event()
    hog = engine.ask(prompt, max_tokens=400, on_piece=lasting(begun))
    assert begun.wait(WAIT)
    waiting = [engine.ask([9, 9, index]) for index in range(3)]
    gone = engine.ask([8, 8])
    gone.request.cancelled = True
    assert gone.ended.result(WAIT) == "cancelled", "one that only waits hears of it at once"
    assert gone.request.lease is None
    assert not any(each.ended.done() for each in waiting)
    hog.request.cancelled = True
    assert hog.ended.result(WAIT) == "cancelled"
    assert len(hog.request.reply) < 400
    assert [each.reply for each in waiting] == [reference.greedy([9, 9, index]) for index in range(3)]
    assert engine.ask(prompt).reply == reference.greedy(prompt), "what the cancelled one left behind is sound"
    assert engine.model.cache.used == 0


def test_a_failing_step_is_told_to_everybody_in_it_and_the_engine_goes_on(start, reference):
    engine = start()
    impossible = engine.ask([10**6])
    with pytest.raises(JourneymanError, match="engine failed"):
        impossible.ended.result(WAIT)
    assert engine.ask([5, 6]).reply == reference.greedy([5, 6])
    assert engine.model.cache.used == 0


def test_numbers_that_are_not_finite_end_one_request_and_spoil_no_other(start, reference, loras, tmp_path):
    engine = start(rows=2)
    wild = shutil.copytree(loras["red"], tmp_path / "wild")
    weights = load_file(wild / "adapter_model.safetensors")
    save_file({name: values * 1e25 for name, values in weights.items()}, wild / "adapter_model.safetensors")
    engine.model.load_adapter("wild", wild)
    prompts = random_prompts(3, seed=13)
    neighbour = engine.ask(prompts[0], max_tokens=60)
    with pytest.raises(JourneymanError, match="'wild' computes numbers that are not finite"):
        engine.ask(prompts[1] * 3, "wild").ended.result(WAIT)
    sampled = engine.ask(prompts[1] * 3, "wild", rule=SamplingRule(top_p=0.9))
    with pytest.raises(JourneymanError, match="not finite"):
        sampled.ended.result(WAIT)
    assert neighbour.reply == reference.greedy(prompts[0], max_tokens=60)
    later = [engine.ask(prompts[2][:2]), engine.ask(prompts[0], max_tokens=60)]
    assert later[0].reply == reference.greedy(prompts[2][:2])
    assert later[1].reply == reference.greedy(prompts[0], max_tokens=60)


def test_closing_answers_everything_that_is_unfinished_and_refuses_what_comes_later(start):
    engine = start(rows=1)
    begun = threading.Event()
    asked = [engine.ask([5, 6, 7], max_tokens=450, on_piece=lasting(begun)), engine.ask([7])]
    assert begun.wait(WAIT)
    engine.scheduler.close()
    for each in asked:
        with pytest.raises(UpstreamFailed, match="shutting down"):
            each.ended.result(WAIT)
    with pytest.raises(UpstreamFailed, match="shutting down"):
        engine.ask([7])
    with pytest.raises(UpstreamFailed, match="shutting down"):
        engine.scheduler.call(lambda model: None)


def test_many_threads_may_submit_cancel_load_and_unload_at_once(start, reference, loras):
    engine = start(rows=3)
    prompts = random_prompts(6, seed=14, longest=30)
    expected = [reference.greedy(prompt, "green", 8) for prompt in prompts]
    wrong: list[object] = []

    def client(number: int) -> None:
        for turn in range(12):
            asked = engine.ask(prompts[(number + turn) % 6], "green", max_tokens=8)
            if turn % 3 == 2:
                asked.request.cancelled = True
                asked.ended.result(WAIT)
            elif asked.reply != expected[(number + turn) % 6]:
                wrong.append((number, turn))

    def churn() -> None:
        for _ in range(20):
            engine.scheduler.call(lambda model: model.unload_adapter("red")).result(WAIT)
            engine.scheduler.call(lambda model: model.load_adapter("red", loras["red"])).result(WAIT)
            time.sleep(0.001)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)] + [
        threading.Thread(target=churn)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert wrong == []
    assert engine.model.cache.used == 0


def test_forks_of_one_prompt_compute_it_once(start, reference):
    engine = start(rows=8)
    prompt = random_prompts(1, seed=15, longest=2)[0] * 100
    asked = [engine.ask(prompt, "red", rule=SamplingRule(seed=f"{fork}"), choice=fork) for fork in range(6)]
    assert all(each.reply for each in asked)
    whole_pages = (len(prompt) - 1) // PAGE * PAGE
    assert sorted(each.request.cached for each in asked) == [0] + [whole_pages] * 5
    assert engine.scheduler.counters.gauges.computed_prompt == 6 * len(prompt) - 5 * whole_pages
    served = engine.scheduler.counters.totals()["red"]
    assert (served.requests, served.prompt) == (6, len(prompt)), "one call: its prompt counts once"


def test_too_little_cache_makes_the_last_wait_and_changes_no_reply(start, reference):
    engine = start(rows=6, context=128, cache_tokens=160)
    prompts = [prompt[:20] for prompt in random_prompts(6, seed=16)]
    asked = [engine.ask(prompt, adapter, max_tokens=90)
             for prompt, adapter in zip(prompts, [None, "red"] * 3, strict=True)]  # fmt: skip
    for prompt, adapter, each in zip(prompts, [None, "red"] * 3, asked, strict=True):
        assert each.reply == reference.greedy(prompt, adapter, 90)
        assert len(each.request.logprobs) == len(each.request.reply)
    assert engine.model.cache.used == 0


def test_those_who_matter_more_go_first(start):
    engine = start(rows=1)
    order: list[str] = []
    begun = threading.Event()
    hog = engine.ask([5, 6], max_tokens=200, on_piece=lasting(begun))
    assert begun.wait(WAIT)
    later = [
        engine.ask([7, number], max_tokens=2, priority=priority, on_piece=lambda update, name=name: order.append(name))
        for number, (name, priority) in enumerate({"rollout": 1, "person": 0, "other rollout": 1}.items())
    ]
    hog.request.cancelled = True
    for each in later:
        each.ended.result(WAIT)
    assert list(dict.fromkeys(order)) == ["person", "rollout", "other rollout"]


def test_a_deadline_ends_a_request_that_runs_and_one_that_waits(start):
    engine = start(rows=1)

    def too_late(update: Update) -> None:
        running.request.deadline = time.monotonic()

    running = engine.request([5, 6], max_tokens=400, deadline=1e300, on_piece=too_late)
    engine.scheduler.submit(running.request)
    waiting = engine.ask([7, 8], deadline=time.monotonic())
    for each in (running, waiting):
        with pytest.raises(DeadlineExceeded, match="deadline"):
            each.ended.result(WAIT)
    assert running.request.reply
    assert not waiting.request.reply
    counters = engine.scheduler.counters
    assert counters.gauges.expired == 2
    assert counters.totals()[None].completion == len(running.request.reply)
    assert counters.totals()[None].prompt == 2, "what never ran is not counted"


def test_more_than_may_wait_are_told_to_come_back(start):
    engine = start(rows=1, waiting=2)
    begun = threading.Event()
    hog = engine.ask([5, 6], max_tokens=300, on_piece=lasting(begun))
    assert begun.wait(WAIT)
    waiting = [engine.ask([7, number], max_tokens=1) for number in range(2)]
    with pytest.raises(Overloaded) as caught:
        engine.ask([8, 9])
    assert caught.value.retry_after >= 1
    assert engine.scheduler.counters.gauges.rejected == 1
    hog.request.cancelled = True
    for each in waiting:
        each.ended.result(WAIT)
    assert engine.ask([8, 9], max_tokens=1).reply


def test_adapters_that_do_not_fit_into_memory_together_take_turns(start, reference, loras):
    largest = start(loras={"blue": loras["blue"]}).model.adapters["blue"].bytes
    engine = start(rows=8, adapter_bytes=largest)
    prompts = random_prompts(9, seed=17)
    names = ["red", "green", "blue"] * 3
    asked = [engine.ask(prompt, name) for prompt, name in zip(prompts, names, strict=True)]
    for prompt, name, each in zip(prompts, names, asked, strict=True):
        assert each.reply == reference.greedy(prompt, name)
    adapters = engine.model.adapters
    assert len(adapters) == 3
    assert adapters.resident_bytes <= largest
    assert adapters.evictions > 0


def test_an_adapter_whose_files_are_gone_is_an_error_for_its_requests_alone(start, reference, loras, tmp_path):
    copy = shutil.copytree(loras["red"], tmp_path / "red")
    largest = start(loras={"blue": loras["blue"]}).model.adapters["blue"].bytes
    engine = start(loras={"red": copy, "blue": loras["blue"]}, adapter_bytes=largest)
    shutil.rmtree(copy)
    lost, kept = engine.ask([5, 6], "red"), engine.ask([5, 6], "blue")
    with pytest.raises(JourneymanError, match="there is no folder"):
        lost.ended.result(WAIT)
    assert kept.reply == reference.greedy([5, 6], "blue")


def test_prompts_are_scored_as_the_reference_scores_them(start, reference):
    engine = start(rows=4)
    prompt = random_prompts(1, seed=18, longest=2)[0] * 90
    engine.ask(prompt, "green").ended.result(WAIT)
    scored = engine.ask(prompt, "green", max_tokens=0, prompt_tops=3)
    assert scored.ended.result(WAIT) == "length"
    assert scored.reply == []
    assert scored.request.cached == 0, "what is read from the cache has no logits"
    expected = reference.logprobs(prompt, "green")[:-1]
    chosen = expected.gather(1, torch.tensor(prompt[1:])[:, None])[:, 0]
    found = scored.request.prompt_logprobs
    torch.testing.assert_close(torch.tensor([logprob for logprob, _ in found]), chosen, atol=1e-4, rtol=0)
    assert [[top.id for top in tops] for _, tops in found] == expected.topk(3).indices.tolist()
    both = engine.ask(prompt, "green", max_tokens=5, prompt_tops=0)
    assert both.reply == reference.greedy(prompt, "green", 5)
    assert [logprob for logprob, _ in both.request.prompt_logprobs] == pytest.approx(chosen.tolist(), abs=1e-4)


def test_every_ended_request_is_counted_once_and_to_the_token(start):
    engine = start(rows=3)
    prompts = random_prompts(8, seed=19)
    asked = [engine.ask(prompt, "red" if number % 2 else None, max_tokens=3 + number, id=f"{number}")
             for number, prompt in enumerate(prompts)]  # fmt: skip
    for each in asked:
        each.ended.result(WAIT)
    counters = engine.scheduler.counters
    entries = counters.served_after(0)["entries"]
    assert [entry["number"] for entry in entries] == list(range(1, 9))
    for entry in entries:
        number = int(entry["request"])
        assert entry["adapter"] == ("red" if number % 2 else None)
        assert (entry["prompt"], entry["completion"]) == (len(prompts[number]), len(asked[number].request.reply))
    assert counters.gauges.generated == sum(len(each.request.reply) for each in asked)
    assert sum(counters.first_token) == 8


def test_work_between_steps_holds_up_neither_replies_nor_the_sign_of_life(start, reference):
    engine = start(rows=2)
    done: list[int] = []
    pieces = 30

    def piece(model):
        done.append(len(done))
        if len(done) < pieces:
            engine.scheduler.call(piece)

    done_at_its_end: list[int] = []
    asked = engine.request([5, 6], max_tokens=10, ignore_eos=True)
    asked.ended.add_done_callback(lambda ended: done_at_its_end.append(len(done)))
    engine.scheduler.submit(asked.request)
    for _ in range(4):
        engine.scheduler.call(piece)
    assert len(asked.reply) == 10
    assert done_at_its_end[0] < pieces, "one piece a step, not all of them first"
    engine.scheduler.pulse().result(WAIT)


def test_work_that_is_unfinished_when_the_engine_closes_is_told_so(start):
    engine = start(rows=1)
    begun, go = threading.Event(), threading.Event()

    def slow(model):
        begun.set()
        go.wait(WAIT)

    first, second = engine.scheduler.call(slow), engine.scheduler.call(lambda model: 1)
    assert begun.wait(WAIT)
    closing = threading.Thread(target=engine.scheduler.close)
    closing.start()
    go.set()
    closing.join(WAIT)
    first.result(WAIT)
    with pytest.raises(UpstreamFailed, match="shutting down"):
        second.result(WAIT)


def test_whoever_gives_up_waiting_for_work_does_no_harm(start, reference):
    engine = start(rows=1)
    begun, go = threading.Event(), threading.Event()
    engine.scheduler.call(lambda model: (begun.set(), go.wait(WAIT)))
    assert begun.wait(WAIT)
    given_up = [engine.scheduler.call(lambda model: 1), engine.scheduler.pulse()]
    assert all(each.cancel() for each in given_up)
    go.set()
    assert engine.ask([5, 6]).reply == reference.greedy([5, 6])


def test_an_adapter_given_up_while_it_is_read_leaves_room_for_others(start, reference, loras):
    largest = start(loras={"blue": loras["blue"]}).model.adapters["blue"].bytes
    engine = start(rows=2, adapter_bytes=largest)
    for name in ("red", "green") * 3:
        gone = engine.request([5, 6], name)
        gone.request.deadline = 0.0
        engine.scheduler.submit(gone.request)
        lost = engine.ask([5, 7], name)
        lost.request.cancelled = True
        assert engine.ask([5, 6], "blue").reply == reference.greedy([5, 6], "blue")


def test_files_that_come_back_are_read_again(start, reference, loras, tmp_path):
    copy = shutil.copytree(loras["red"], tmp_path / "red")
    largest = start(loras={"blue": loras["blue"]}).model.adapters["blue"].bytes
    engine = start(loras={"red": copy, "blue": loras["blue"]}, adapter_bytes=largest)
    config = (copy / "adapter_config.json").read_text()
    for broken in ("[" * 100_000, ""):
        (copy / "adapter_config.json").write_text(broken)
        lost, bystander = engine.ask([5, 6], "red"), engine.ask([5, 6])
        with pytest.raises(JourneymanError):
            lost.ended.result(WAIT)
        assert bystander.reply == reference.greedy([5, 6])
    (copy / "adapter_config.json").write_text(config)
    assert engine.ask([5, 6], "red").reply == reference.greedy([5, 6], "red")


def test_an_unloaded_adapter_finishes_its_requests_even_when_they_have_to_wait(start, reference, loras, tmp_path):
    copy = shutil.copytree(loras["red"], tmp_path / "red")
    engine = start(loras={"red": copy}, rows=4, context=128, cache_tokens=160)
    asked = [engine.ask([5, number], "red", max_tokens=90) for number in range(6, 10)]
    engine.model.unload_adapter("red")
    shutil.rmtree(copy)
    for number, each in enumerate(asked, 6):
        assert each.reply == reference.greedy([5, number], "red", 90)
    assert engine.model.adapters.resident == 0


def test_the_engine_keeps_its_threads_when_an_adapter_is_read_first(tiny, loras):
    model = LocalModel(tiny, precision="float32")
    scheduler = Scheduler(model, 2)
    try:
        scheduler.beside(lambda model: model.load_adapter("red", loras["red"])).result(WAIT)
        assert scheduler.call(lambda model: torch.ones(10).sum() and torch.get_num_threads()).result(WAIT) == 2
    finally:
        scheduler.close()
        torch.set_num_threads(1)


def test_who_waits_behind_a_full_cache_hears_of_the_deadline_and_what_never_fits_is_refused(start):
    engine = start(rows=4, context=128, cache_tokens=128)
    begun = threading.Event()
    hog = engine.ask([5, 6], max_tokens=110, ignore_eos=True, on_piece=lasting(begun))
    assert begun.wait(WAIT)
    head = engine.ask(random_prompts(1, seed=20, longest=2)[0] * 110, max_tokens=1)
    late = engine.ask([7], deadline=0.0)
    with pytest.raises(DeadlineExceeded):
        late.ended.result(WAIT)
    assert not hog.ended.done()
    assert head.reply
    with pytest.raises(ContextTooLong):
        engine.ask([5] * 100, max_tokens=29)


def test_one_impossible_request_ends_alone(start, reference):
    engine = start(rows=4)
    asked = [engine.ask([5, number], max_tokens=30) for number in range(6, 8)]
    wrong = engine.ask([5, 9], rule=SamplingRule(logit_bias={10**6: 1.0}))
    with pytest.raises(JourneymanError, match="cannot be chosen"):
        wrong.ended.result(WAIT)
    assert [each.reply for each in asked] == [reference.greedy([5, number], None, 30) for number in range(6, 8)]
