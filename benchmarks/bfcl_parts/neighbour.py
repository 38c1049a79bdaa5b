"""A baseline without a language model: do what the nearest question's answer did."""

import json
from collections.abc import Sequence
from typing import Any

from bfcl_parts.likeness import TfIdf
from bfcl_parts.questions import Question, plain_name
from bfcl_parts.rows import answer_of, wire_name

Calls = list[tuple[str, Any]]


class NearestNeighbour:
    """Copies the answer of the learned question whose words are nearest (TF-IDF, cosine)."""

    def __init__(self, learned: Sequence[Question]) -> None:
        self._learned = learned
        self._near = TfIdf([_asked(each) for each in learned])

    def copied(self, question: Question) -> Calls:
        """The neighbour's calls as they are."""
        return _calls(self._nearest(question))

    def adapted(self, question: Question) -> Calls:
        """The neighbour's values, in order, for the likeliest function's required arguments of the same type.

        The function is the one on offer whose words are nearest to the question's. It is as far as copying gets where
        the functions are new.
        """
        offered = TfIdf([f"{each['name']} {each['description']}" for each in question.functions])
        function = question.functions[int(offered.likeness(_asked(question)).argmax())]
        values = [value for _, arguments in _calls(self._nearest(question)) for value in arguments.values()]
        given = {}
        for name in function["parameters"]["required"]:
            kind = function["parameters"]["properties"][name]["type"]
            fitting = [value for value in values if _KINDS.get(type(value)) == kind]
            if fitting:
                given[name] = fitting[0]
                values.remove(fitting[0])
        return [(wire_name(function["name"]), given)]

    def _nearest(self, question: Question) -> Question:
        return self._learned[int(self._near.likeness(_asked(question)).argmax())]


_KINDS = {str: "string", int: "integer", float: "float", bool: "boolean", list: "array", dict: "dict"}


def names_of(questions: Sequence[Question]) -> set[str]:
    """The plain names of all functions on offer."""
    return {plain_name(function["name"]) for question in questions for function in question.functions}


def _asked(question: Question) -> str:
    return " ".join(str(message["content"]) for message in question.messages if message["role"] == "user")


def _calls(question: Question) -> Calls:
    made = answer_of(question).tool_calls or ()
    return [(each.function.name, json.loads(each.function.arguments)) for each in made]
