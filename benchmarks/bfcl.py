"""Distillation on data that no one here wrote: single-turn function calling of the Berkeley leaderboard (BFCL).

pip install --no-deps --target bfcl bfcl-eval==2026.3.23
python benchmarks/bfcl.py --bfcl bfcl             train, then ask the base and the distilled model what neither has seen
python benchmarks/bfcl.py --bfcl bfcl --quick     a first look: few rows, few cases; not kept

Questions are divided so that no function on offer in a held-out question, nor one like it, is offered in a learned one.
The rows go through `journeyman dataset import` and `journeyman train sft`; both models answer through `journeyman up`.
With the same --home an interrupted benchmark goes on where it was.
"""

import argparse
import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bfcl_parts.checker import calls_of, judge
from bfcl_parts.divided import Divided, divide
from bfcl_parts.loop import ADAPTER, BASE, ask, check_leaks, read_replies, seconds_of_children, train
from bfcl_parts.neighbour import NearestNeighbour, names_of
from bfcl_parts.questions import CATEGORIES, Question, find_package, load_questions
from bfcl_parts.replies import Agreement, Calls, changed_answers, compare_checkers
from bfcl_parts.rows import to_row, wire_name, write_rows, write_suite
from bfcl_parts.theirs import TheirChecker
from record import Row, row, write_results

from journeyman.config import Settings
from journeyman.engines.models import find_model
from journeyman.records import Interval
from journeyman.rendering.chat import ChatTokenizer
from journeyman.rendering.masks import mask_conversation
from journeyman.statistics import paired_difference, paired_mean, proportion

MOST_TOKENS = 160
"""A longer question with its functions and answer is left out: prompts are what the time goes into."""


class Sizes(NamedTuple):
    """How many questions of each part."""

    train: int = 256
    validation: int = 16
    held_out: int = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bfcl", type=Path, help="the folder that bfcl-eval was installed into")
    parser.add_argument("--home", type=Path, help="where what is made is kept; a temporary folder if absent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="few rows and cases; not kept")
    parser.add_argument("--replies", type=Path, help="judge these transcripts again; train nothing and ask nobody")
    parser.add_argument("--unforced", action="store_true", help="do not ask the base a second time, forced to call")
    options = parser.parse_args()
    package = find_package(options.bfcl)
    home = options.home or Path(tempfile.mkdtemp(prefix="journeyman-bfcl-"))
    home.mkdir(parents=True, exist_ok=True)
    sizes = Sizes(train=16, validation=4, held_out=12) if options.quick else Sizes()

    everything = load_questions(package)
    questions = short_enough(everything)
    parts = divide(questions, *sizes, options.seed)
    write_rows(parts.train, parts.validation, home / "rows.jsonl")
    write_rows([*parts.train, *parts.validation], parts.held_out, home / "leaks.jsonl")
    write_suite(parts.held_out, home / "suite")
    leaks = check_leaks(home)
    if options.replies:
        answered = read_replies(options.replies)
    else:
        train(home, options.seed)
        answered = asyncio.run(ask(home, len(parts.held_out), forced=not options.unforced))

    theirs = TheirChecker(package)
    replies = [(each, calls_of(told[each.id])) for told in answered.values() for each in parts.held_out]
    rows = [
        *described(everything, questions, parts, leaks),
        *results(
            parts, {model: [calls_of(by_id[each.id]) for each in parts.held_out] for model, by_id in answered.items()}
        ),
        agreement("the models' replies", compare_checkers(replies, theirs)),
        agreement(
            "right answers and changed ones", compare_checkers(list(changed_answers(everything, options.seed)), theirs)
        ),
    ]
    if not options.replies:
        rows.append(row("processor time of what this run trained and asked", seconds_of_children(), "CPU-s"))
    write_results("bfcl", rows, options.seed, quick=options.quick)


def short_enough(questions: list[Question]) -> list[Question]:
    """Those that the model reads in at most MOST_TOKENS, answer included."""
    tokenizer = ChatTokenizer(find_model(Settings(), BASE))

    def length(question: Question) -> int:
        learned = to_row(question, "train")
        return len(mask_conversation(tokenizer, learned.messages, learned.tools).ids)

    return [each for each in questions if length(each) <= MOST_TOKENS]


def described(everything: list[Question], used: list[Question], parts: Divided, leaks: int) -> list[Row]:
    """What was learned and what was asked, and that they are apart."""
    shared = names_of([*parts.train, *parts.validation]) & names_of(parts.held_out)
    return [
        row(f"questions of {', '.join(CATEGORIES)} that have an answer", len(everything), "questions"),
        row(f"of them at most {MOST_TOKENS} tokens long", len(used), "questions"),
        row(f"learned ({_kinds(parts.train)})", len(parts.train), "questions"),
        row(f"held out ({_kinds(parts.held_out)})", len(parts.held_out), "questions"),
        row("groups of functions held out", len({parts.group_of[each.id] for each in parts.held_out}), "groups"),
        row("functions offered on both sides", len(shared), "functions", bar="= 0", holds=not shared),
        row("near leaks by our own leak check", leaks, "rows", bar="= 0", holds=leaks == 0),
    ]  # fmt: skip


def results(parts: Divided, made: dict[str, list[Calls]]) -> list[Row]:
    """How often each was right, and the gains, paired by question."""
    neighbour = NearestNeighbour(parts.train)
    players = made | {
        "nearest neighbour (TF-IDF), its answer copied": [neighbour.copied(each) for each in parts.held_out],
        "nearest neighbour (TF-IDF), its values put into the likeliest function": [
            neighbour.adapted(each) for each in parts.held_out
        ],
    }
    right = {
        name: [judge(calls, each.functions, each.answers)[0] for each, calls in zip(parts.held_out, told, strict=True)]
        for name, told in players.items()
    }
    rows = [_share(f"right: {name}", found) for name, found in right.items()]
    for category in CATEGORIES:
        chosen = [at for at, each in enumerate(parts.held_out) if each.category == category]
        for name in made if chosen else ():
            rows.append(_share(f"right, {category}: {name}", [right[name][at] for at in chosen]))
    for name, told in players.items():
        rows.append(_share(f"called the right function: {name}", [
            len(calls) == 1 and calls[0][0] == wire_name(next(iter(each.answers[0])))
            for each, calls in zip(parts.held_out, told, strict=True)
        ]))  # fmt: skip
    rivals = [name for name in players if name != ADAPTER]
    return rows + [gain for rival in rivals for gain in _gains(rival, right, parts)]


def _gains(rival: str, right: dict[str, list[bool]], parts: Divided) -> list[Row]:
    pairs = list(zip(right[ADAPTER], right[rival], strict=True))
    fixed, broken = (sum(one and not other for one, other in each) for each in (pairs, [(b, a) for a, b in pairs]))
    plain = paired_difference(fixed, broken, len(pairs))
    clusters = [parts.group_of[each.id] for each in parts.held_out]
    ours, theirs = (list(map(float, right[name])) for name in (ADAPTER, rival))
    whole = paired_mean(ours, theirs, clusters)
    return [
        _gain(f"{ADAPTER} minus {rival}, paired (Tango); {fixed} fixed, {broken} broken", plain),
        _gain(f"{ADAPTER} minus {rival}, groups of functions resampled whole", whole),
    ]


def agreement(what: str, found: Agreement) -> Row:
    """Our checker against bfcl-eval's; what they disagree on is told."""
    for each in found.apart[:5]:
        print("checkers disagree:", each)
    same = found.replies - len(found.apart)
    told = f"our checker agrees with bfcl-eval's: {what}, {found.right} of {found.replies} right by both"
    return row(
        told, same / found.replies, "share", interval=_ends(proportion(same, found.replies)), bar="= 1",
        holds=not found.apart,
    )  # fmt: skip


def _share(what: str, found: list[bool]) -> Row:
    share = proportion(sum(found), len(found))
    return row(what, share.estimate, "share", interval=_ends(share))


def _gain(what: str, found: Interval) -> Row:
    return row(what, found.estimate, "share", interval=_ends(found), bar="> 0", holds=found.low > 0)


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def _kinds(questions: list[Question]) -> str:
    return ", ".join(f"{times} {kind}" for kind, times in Counter(each.category for each in questions).most_common())


if __name__ == "__main__":
    main()
