"""Preferences from captured calls: corrections become pairs, feedback becomes labels and scores."""

import pytest

from journeyman.config import Settings
from journeyman.datasets.versions import find_dataset, load_rows
from journeyman.errors import InvalidInput
from journeyman.records import Feedback
from journeyman.store.sql import open_store
from tests.cli.test_dataset import captured, run  # noqa: F401
from tests.datasets.test_corrections import correct
from tests.datasets.test_graph import ALL, SUBJECTS, asking, build, store  # noqa: F401


def say(store, name, value, **about):  # noqa: F811
    store.put(Feedback(name=name, value=value, by="test", **about))


@pytest.fixture
def corrected(store):  # noqa: F811
    """The first five conversations, each with what should have been said."""
    for subject in SUBJECTS[:5]:
        correct(store, f"{subject} are better", session=subject, turn=0)


def test_pairs_are_corrections_beside_what_was_corrected(store, build, corrected):  # noqa: F811
    # What was corrected to itself is no pair.
    correct(store, "forests are fine", session="forests", turn=0)
    rows = build({"source": {"all": {"pairs": True}}})
    assert set(rows) == set(SUBJECTS[:5])
    for subject, row in rows.items():
        assert row.messages[-1].text == f"{subject} are better"
        assert row.rejected[-1].text == f"{subject} are fine"
        assert row.rejected[:-1] == row.messages[:-1]
    assert build.runs["all"].left_out["nobody corrected its reply"] >= 5
    assert build.dataset.where is None, "it is not what the filter alone would find"
    # Without the wish for pairs nothing stands beside the correction.
    assert all(row.rejected is None for row in build(ALL).values())


def test_pruning_reaches_what_was_rejected(build, corrected):  # noqa: F811
    tables = {"source": {"all": {"pairs": True}}, "prune": {"short": {"from": "all", "texts": ["Never say please."]}}}
    for row in build(tables).values():
        assert row.messages[0].text == row.rejected[0].text == "Be brief."


def test_a_stronger_models_reply_stands_before_the_weaker_one(store, build, chat_server):  # noqa: F811
    def script(asked):
        subject = asked["messages"][-1]["content"].removeprefix("Tell me about ").partition(",")[0]
        return f"{subject} are fine" if subject in SUBJECTS[:3] else f"{subject}, at length"

    chat_server.script = script
    rows = build({**ALL, "relabel": {"new": {"from": "all", "rejected": True, **asking(chat_server)}}})
    assert set(rows) == set(SUBJECTS[3:]), "where both say the same, neither is worse"
    assert build.runs["new"].left_out == {"there is no worse reply beside it": 3}
    assert (rows["jackets"].messages[-1].text, rows["jackets"].rejected[-1].text) == (
        "jackets, at length",
        "jackets are fine",
    )


def test_feedback_becomes_labels_and_scores(store, build):  # noqa: F811
    for number, subject in enumerate(SUBJECTS[:6]):
        say(store, "stars", 1.0 + number % 5, session=subject)
    say(store, "stars", 5.0, session=SUBJECTS[0])  # newer than its 1
    say(store, "stars", 1.0, session=SUBJECTS[6], turn=0)  # about a turn, not about the conversation
    rows = build({"source": {"all": {"label": "stars", "good_from": 4, "score": "stars"}}})
    assert {subject: (row.label, row.score) for subject, row in rows.items()} == {
        "apples": (True, 5.0), "bridges": (False, 2.0), "clocks": (False, 3.0), "dragons": (True, 4.0),
        "engines": (True, 5.0), "forests": (False, 1.0),
    }  # fmt: skip
    assert build.runs["all"].left_out == {"it has no feedback named stars with a value": 4}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pairs": True, "corrections": False}, "pairs are made of corrections"),
        ({"good_from": 1.0}, "name the feedback: `label`"),
    ],
)
def test_what_does_not_fit_together_is_refused(build, settings, said):  # noqa: F811
    with pytest.raises(InvalidInput, match=said):
        build({"source": {"all": settings}})


def test_the_options_of_the_command_line(run, captured):  # noqa: F811
    opened = open_store(Settings())
    for number in range(8):
        correct(opened, f"better {number}", session=f"s{number}", turn=0)
        say(opened, "success", number % 2, session=f"s{number}")
    built = run("build", "pairs", "--pairs")
    assert "12 left out: nobody corrected its reply" in built
    shown = run("show", "pairs", "--rows", "1")
    assert "8 rows beside a worse reply" in shown
    assert shown.index("better 0") < shown.index("the worse one") < shown.index("answer 0")
    run("build", "judged", "--label", "success", "--score", "success", "--no-corrections")
    shown = run("show", "judged", "--rows", "0")
    assert "8 rows labelled good or not, 4 of them good" in shown
    assert "8 rows with a score" in shown
    assert {row.label for row in load_rows(find_dataset(opened, "judged"))} == {True, False}
    opened.close()
    with pytest.raises(InvalidInput, match="leave out --pairs, --label"):
        run("build", "x", "--graph", "x.toml", "--pairs", "--label", "success")
